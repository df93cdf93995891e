"""Loading networks by their usual names or from local files, and saying what to do when neither works."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.factory import _get_hf_config  # the only way to a hub model's configuration

from encoders.errors import EncoderError, WeightsMissing
from encoders.hub import offline_where_no_hub_resolves
from encoders.presets import UNTRAINED
from encoders.untrained import CLIP_CONFIG, untrained_clip, untrained_dino

_SCHEMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class ClipSource:
    """Where a CLIP comes from.

    Attributes:
        architecture: an open_clip model name, `hf-hub:OWNER/NAME`, `local-dir:FOLDER`, or `untrained`.
        pretrained: the name of its weights, which also settles its activation and its pixel normalisation.
        checkpoint: a local file that replaces the download.
    """

    architecture: str
    pretrained: str | None = None
    checkpoint: Path | None = None

    @classmethod
    def parse(cls, text: str, checkpoint: Path | None = None) -> "ClipSource":
        """Read `ARCHITECTURE/WEIGHTS`, `ARCHITECTURE`, `hf-hub:OWNER/NAME` or `local-dir:FOLDER`.

        >>> ClipSource.parse("ViT-B-16/openai").pretrained
        'openai'
        """
        if text.startswith(_SCHEMES):
            return cls(text, None, checkpoint)
        architecture, _, pretrained = text.partition("/")
        return cls(architecture, pretrained or None, checkpoint)


@dataclass(frozen=True)
class LoadedClip:
    """An open_clip network in evaluation mode, the configuration it was made from, and its source."""

    network: Any
    config: dict[str, Any]
    source: ClipSource


def load_clip(source: ClipSource, device: str = "cpu") -> LoadedClip:
    """Load a CLIP in float32.

    Raises:
        EncoderError: no such architecture or weights, or a checkpoint that does not fit it.
        WeightsMissing: the weights are not on this machine and no hub can be reached.
    """
    _check_checkpoint(source.checkpoint, source.architecture, "--clip-checkpoint")
    if source.architecture == UNTRAINED:
        return LoadedClip(untrained_clip().to(device), CLIP_CONFIG, source)
    config, options = _clip_options(source)
    with _quiet(), _explained(f"CLIP {source.architecture}", _clip_files(source), "--clip-checkpoint"):
        network = open_clip.create_model(source.architecture, precision="fp32", weights_only=True, **options)
        if source.checkpoint is not None and source.architecture.startswith(_SCHEMES):
            open_clip.load_checkpoint(network, str(source.checkpoint), weights_only=True)
    return LoadedClip(network.eval().to(device), config, source)


def _clip_options(source: ClipSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration, and what `open_clip.create_model` needs besides its name."""
    if source.architecture.startswith(_SCHEMES):
        # Left to itself, open_clip returns a random network where a folder holds no weights, and never takes a file.
        if source.checkpoint is None:
            return _scheme_config(source), {"require_pretrained": True}
        return _scheme_config(source), {"load_weights": False, "pretrained_text": False}
    config = open_clip.get_model_config(source.architecture)
    if config is None:
        raise EncoderError(
            f"--clip {source.architecture}: open_clip knows no such architecture; "
            f"`python -c 'import open_clip; print(open_clip.list_models())'` lists them"
        )
    options: dict[str, Any] = {"pretrained": source.pretrained, "require_pretrained": True}
    if source.pretrained is not None:
        tag = open_clip.get_pretrained_cfg(source.architecture, source.pretrained)
        if not tag:
            names = ", ".join(open_clip.list_pretrained_tags_by_model(source.architecture))
            raise EncoderError(f"--clip {source.architecture}/{source.pretrained}: its weights are: {names or 'none'}")
        # open_clip only warns when weights were trained with another activation than the architecture's default.
        config["quick_gelu"] = options["force_quick_gelu"] = bool(
            tag.get("quick_gelu", False) or config.get("quick_gelu", False)
        )
        options["force_preprocess_cfg"] = {
            key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None
        }
    if source.checkpoint is not None:
        options["pretrained"] = str(source.checkpoint.absolute())  # never mistaken for the name of some weights
    elif source.pretrained is None:
        raise EncoderError(
            f"--clip {source.architecture}: which weights? Write --clip {source.architecture}/WEIGHTS "
            f"or give --clip-checkpoint FILE"
        )
    return config, options


def _scheme_config(source: ClipSource) -> dict[str, Any]:
    name = source.architecture.partition(":")[2]
    with _explained(f"CLIP {source.architecture}", f"{name}/open_clip_config.json", "--clip local-dir:FOLDER"):
        if source.architecture.startswith("local-dir:"):
            path = Path(name) / "open_clip_config.json"
            if not path.is_file():
                raise EncoderError(f"--clip {source.architecture}: no file {path}")
            return dict(json.loads(path.read_text("utf-8"))["model_cfg"])
        return dict(_get_hf_config(name)["model_cfg"])


def _clip_files(source: ClipSource) -> str:
    """The file that a hub would have been asked for."""
    if source.checkpoint is not None:
        return str(source.checkpoint)
    tag = open_clip.get_pretrained_cfg(source.architecture, source.pretrained or "")
    if tag.get("url") and not tag.get("hf_hub"):
        return str(tag["url"])
    hub = str(tag.get("hf_hub") or source.architecture.partition(":")[2] + "/")
    return f"{hub}open_clip_model.safetensors" if hub.endswith("/") else hub  # open_clip's own rule


def clip_tokenizer(source: ClipSource) -> Any:  # open_clip has three unrelated tokenizer classes
    """The tokenizer of a CLIP.

    Raises:
        WeightsMissing: it needs files from a hub that cannot be reached.
    """
    name = "" if source.architecture == UNTRAINED else source.architecture
    with _quiet(), _explained(f"tokenizer of {source.architecture}", "its tokenizer files", "--clip local-dir:FOLDER"):
        return open_clip.get_tokenizer(name)


def load_dino(name: str, checkpoint: Path | None = None, device: str = "cpu") -> Any:
    """Load a timm vision transformer that takes any size of whole patches, in evaluation mode, float32.

    Args:
        name: a timm model, for example `vit_base_patch14_reg4_dinov2.lvd142m`, or `untrained`.
        checkpoint: a local safetensors or weights-only file that replaces the download.
        device: where it shall run.

    Raises:
        EncoderError: timm knows no such model, or the checkpoint does not fit it.
        WeightsMissing: the weights are not on this machine and no hub can be reached.
    """
    _check_checkpoint(checkpoint, name, "--dino-checkpoint")
    if name == UNTRAINED:
        return untrained_dino().to(device)
    if not timm.is_model(name.partition(".")[0]):
        raise EncoderError(f"--dino {name}: timm knows no such model; `timm.list_models('*dinov2*')` lists some")
    overlay = {"file": str(checkpoint)} if checkpoint is not None else None
    with _quiet(), _explained(f"DINOv2 {name}", str(checkpoint or _dino_file(name)), "--dino-checkpoint"):
        network = timm.create_model(
            name, pretrained=True, num_classes=0, dynamic_img_size=True, pretrained_cfg_overlay=overlay
        )
    return network.eval().to(device)


def _dino_file(name: str) -> str:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, its weights' name is not
        names = ", ".join(timm.list_pretrained(name.partition(".")[0] + ".*"))
        raise EncoderError(f"--dino {name}: no such weights; there are: {names}") from error
    return f"{config.hf_hub_id}/model.safetensors" if config and config.hf_hub_id else name


def _check_checkpoint(checkpoint: Path | None, network: str, flag: str) -> None:
    """Refuse a file that cannot be what is needed, before a loading library opens it.

    Old releases of torch and timm fall back to unpickling whatever is not plain weights, which runs code.
    """
    if checkpoint is None:
        return
    if network == UNTRAINED:
        raise EncoderError(f"{flag} {checkpoint}: the untrained network has its own weights; name another one")
    if not checkpoint.is_file():
        raise WeightsMissing(f"{flag} {checkpoint}: no such file")
    if checkpoint.suffix in (".safetensors", ".npz", ".npy"):  # formats that hold no code
        return
    try:
        with _quiet():
            torch.load(checkpoint, map_location="meta", weights_only=True)
    except Exception as error:  # from pickle, zipfile, torch or the disk
        raise EncoderError(
            f"{flag} {checkpoint}: not a file of plain weights (it is damaged, or holds code, which is never run); "
            f"save its state_dict as safetensors and give that"
        ) from error


@contextmanager
def _explained(what: str, wanted: str, flag: str) -> Iterator[None]:
    """Turn whatever a loading library raises into one line that says how to go on.

    The libraries raise anything from `OSError` to `RuntimeError` with pages of text here, so all are caught, kept as
    the cause, and told apart by whether a network was involved.
    """
    try:
        with offline_where_no_hub_resolves():
            yield
    except EncoderError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        if _is_connection(error):
            raise WeightsMissing(
                f"{what}: its weights are not on this machine and no hub can be reached. Wanted: {wanted}. "
                f"Download that file elsewhere and pass it with {flag}, "
                f"or use --preset untrained (no download, no meaning)"
            ) from error
        raise EncoderError(
            f"{what}: cannot be loaded from {wanted}: {reason}. "
            f"Give another with {flag}, or use --preset untrained (no download, no meaning)"
        ) from error


def _is_connection(error: BaseException | None) -> bool:
    """Whether a failure to reach a hub is in the chain of causes."""
    marks = ("connection", "offline", "resolve", "localentrynotfound", "max retries", "urlopen", "timed out", "proxy")
    while error is not None:
        text = f"{type(error).__name__} {error}".lower()
        if any(mark in text for mark in marks):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading libraries' own log lines and warnings from our output; errors are raised and said by us."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def with_checkpoint(source: ClipSource, checkpoint: Path | None) -> ClipSource:
    """The same CLIP from another file."""
    return source if checkpoint is None else replace(source, checkpoint=checkpoint)


def pick_device(device: str) -> str:
    """`auto` means CUDA where there is some.

    Raises:
        EncoderError: a CUDA device was asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    return device
