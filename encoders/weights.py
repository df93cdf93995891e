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
    if source.architecture == UNTRAINED:
        return LoadedClip(untrained_clip().to(device), CLIP_CONFIG, source)
    if source.checkpoint is not None and not source.checkpoint.is_file():
        raise WeightsMissing(f"--clip-checkpoint {source.checkpoint}: no such file")
    config, options = _clip_options(source)
    with _quiet(), _explained(f"CLIP {source.architecture}", _clip_files(source), "--clip-checkpoint"):
        network = open_clip.create_model(source.architecture, precision="fp32", **options)
    return LoadedClip(network.eval().to(device), config, source)


def _clip_options(source: ClipSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration, and what `open_clip.create_model` needs besides its name."""
    if source.architecture.startswith(_SCHEMES):
        return _scheme_config(source), {"weights_only": True}
    config = open_clip.get_model_config(source.architecture)
    if config is None:
        raise EncoderError(
            f"--clip {source.architecture}: open_clip knows no such architecture; "
            f"`python -c 'import open_clip; print(open_clip.list_models())'` lists them"
        )
    options: dict[str, Any] = {"pretrained": source.pretrained, "weights_only": True, "require_pretrained": True}
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
        options["pretrained"] = str(source.checkpoint)
    elif source.pretrained is None:
        raise EncoderError(
            f"--clip {source.architecture}: which weights? Write --clip {source.architecture}/WEIGHTS "
            f"or give --clip-checkpoint FILE"
        )
    return config, options


def _scheme_config(source: ClipSource) -> dict[str, Any]:
    with _explained(f"CLIP {source.architecture}", "open_clip_config.json", "--clip local-dir:FOLDER"):
        if source.architecture.startswith("local-dir:"):
            path = Path(source.architecture.removeprefix("local-dir:")) / "open_clip_config.json"
            if not path.is_file():
                raise EncoderError(f"--clip {source.architecture}: no file {path}")
            return dict(json.loads(path.read_text("utf-8"))["model_cfg"])
        return dict(_get_hf_config(source.architecture.removeprefix("hf-hub:"))["model_cfg"])


def _clip_files(source: ClipSource) -> str:
    """The file that a hub would have been asked for."""
    if source.checkpoint is not None:
        return str(source.checkpoint)
    tag = open_clip.get_pretrained_cfg(source.architecture, source.pretrained or "")
    hub = (tag.get("hf_hub") or "").rstrip("/") or source.architecture.removeprefix("hf-hub:")
    return str(tag["url"]) if tag.get("url") and not tag.get("hf_hub") else f"{hub}/open_clip_model.safetensors"


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
    if name == UNTRAINED:
        return untrained_dino().to(device)
    if checkpoint is not None and not checkpoint.is_file():
        raise WeightsMissing(f"--dino-checkpoint {checkpoint}: no such file")
    if not timm.is_model(name.partition(".")[0]):
        raise EncoderError(f"--dino {name}: timm knows no such model; `timm.list_models('*dinov2*')` lists some")
    overlay = {"file": str(checkpoint)} if checkpoint is not None else None
    with _quiet(), _explained(f"DINOv2 {name}", str(checkpoint or _dino_file(name)), "--dino-checkpoint"):
        network = timm.create_model(
            name, pretrained=True, num_classes=0, dynamic_img_size=True, pretrained_cfg_overlay=overlay
        )
    return network.eval().to(device)


def _dino_file(name: str) -> str:
    config = timm.get_pretrained_cfg(name)
    return f"{config.hf_hub_id}/model.safetensors" if config and config.hf_hub_id else name


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
        first_line = str(error).strip().split("\n")[0][:300]
        if _is_connection(error):
            raise WeightsMissing(
                f"{what}: its weights are not on this machine and no hub can be reached. Wanted: {wanted}. "
                f"Download that file elsewhere and pass it with {flag}, "
                f"or use --preset untrained (no download, no meaning)"
            ) from error
        raise EncoderError(f"{what}: cannot be loaded from {wanted}: {first_line}") from error


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
