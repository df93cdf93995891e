"""Who made a vector: a digest over the text tower's configuration and weights."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from encoders.weights import ClipSource, LoadedClip
from shards import EncoderIdentity

PROMPT = "{}"
"""Captions are embedded as they are; a caption needs no template."""


def identify(clip: LoadedClip, tokenizer: Any, precision: str = "fp32") -> EncoderIdentity:
    """The identity of a CLIP's text side, as `shards/FORMAT.md` defines it.

    Args:
        clip: a loaded network.
        tokenizer: the tokenizer it is used with.
        precision: how the text tower is run; recorded, not compared.
    """
    text = clip.config["text_cfg"]
    checkpoint = clip.source.checkpoint
    return EncoderIdentity(
        architecture=_architecture(clip.source.architecture),
        pretrained=clip.source.pretrained or _folder(clip.source.architecture),
        checkpoint=str(checkpoint) if checkpoint else None,
        text_digest=text_digest(clip),
        tokenizer=type(tokenizer).__name__,
        context_length=int(text.get("context_length", 77)),
        prompt=PROMPT,
        concept_prompts=[],
        dimension=int(clip.config["embed_dim"]),
        precision=precision,
    )


def text_digest(clip: LoadedClip) -> str:
    """SHA-256 over the text tower's configuration and weights."""
    config = {
        "dimension": clip.config["embed_dim"],
        "quick_gelu": bool(clip.config.get("quick_gelu", False)),
        "text": clip.config["text_cfg"],
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name, values in sorted(_text_tensors(clip.network)):
        shape = ",".join(str(size) for size in values.shape)
        digest.update(name.encode() + b"\0" + shape.encode() + b"\0")
        digest.update(np.ascontiguousarray(values, "<f4").data)
    return "sha256:" + digest.hexdigest()


def weights_digest(networks: Iterable[Any]) -> str:
    """SHA-256 over the weights of networks, in order and as they are."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            values = np.ascontiguousarray(tensor.float().cpu().numpy(), "<f4")
            digest.update(f"{name} {values.shape}".encode() + b"\0")
            digest.update(values.data)
    return "sha256:" + digest.hexdigest()


def _text_tensors(network: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every tensor of the text tower; a CLIP without a separate one keeps it beside the image tower."""
    for name, tensor in getattr(network, "text", network).state_dict().items():
        if not name.startswith("visual.") and name not in ("logit_scale", "logit_bias"):
            yield name, tensor.float().cpu().numpy()


def _architecture(name: str) -> str:
    """A name that means the same on every machine: a local folder is known by its own name."""
    return Path(name.removeprefix("local-dir:")).absolute().name if name.startswith("local-dir:") else name


def _folder(name: str) -> str | None:
    return name if name.startswith("local-dir:") else None


def source_of(identity: EncoderIdentity, checkpoint: Path | None = None) -> ClipSource:
    """Where to load the CLIP of an index from.

    Args:
        identity: what the manifest says.
        checkpoint: a local file to use instead of the one that the index was built from.
    """
    if checkpoint is None and identity.checkpoint:
        checkpoint = Path(identity.checkpoint)
    if identity.pretrained and identity.pretrained.startswith("local-dir:"):
        return ClipSource(identity.pretrained, None, checkpoint)
    return ClipSource(identity.architecture, identity.pretrained, checkpoint)
