"""Loading a CLIP by its usual name or from local files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import _get_hf_config  # the only way to a hub model's configuration

from encoders.blank import NothingRandom
from encoders.errors import EncoderError, WeightsMissing
from encoders.loading import check_checkpoint, check_finite, explained, quiet
from encoders.presets import POCKET, UNTRAINED
from encoders.untrained import CLIP_CONFIG, untrained_clip

POCKET_FOLDER = Path(__file__).parent / "pocket"
"""Where this copy of the package keeps the small CLIP; nothing that is written to disk says it."""

_SCHEMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class ClipSource:
    """Where a CLIP comes from.

    Attributes:
        architecture: an open_clip model name, `hf-hub:OWNER/NAME`, `local-dir:FOLDER`, `pocket`, or `untrained`.
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
        if text == POCKET:
            return cls(POCKET, POCKET, checkpoint)
        architecture, _, pretrained = text.partition("/")
        return cls(architecture, pretrained or None, checkpoint)


@dataclass(frozen=True)
class LoadedClip:
    """An open_clip network in evaluation mode, the configuration it was made from, and its source."""

    network: Any
    config: dict[str, Any]
    source: ClipSource


def load_clip(source: ClipSource, device: str = "cpu") -> LoadedClip:
    """Load a CLIP in float32, whatever precision its file has.

    Raises:
        EncoderError: no such architecture or weights, or a checkpoint that does not fit it or holds what is no number.
        WeightsMissing: the weights are not on this machine and no hub can be reached, or not in this package.
    """
    check_checkpoint(source.checkpoint, source.architecture, "--clip-checkpoint")
    if source.architecture == UNTRAINED:
        return LoadedClip(untrained_clip().to(device), CLIP_CONFIG, source)
    place = _place_of(source)
    config, options = _clip_options(place)
    wanted = _clip_files(place)
    said = explained(f"CLIP {source.architecture}", wanted, "--clip-checkpoint")
    with quiet(), said, NothingRandom():
        network = open_clip.create_model(place.architecture, precision="fp32", weights_only=True, **options)
        if place.checkpoint is not None and place.architecture.startswith(_SCHEMES):
            open_clip.load_checkpoint(network, str(place.checkpoint), weights_only=True)
    check_finite(network, f"CLIP {source.architecture}, {wanted}", "--clip-checkpoint")
    return LoadedClip(network.eval().to(device), config, source)


def _place_of(source: ClipSource) -> ClipSource:
    """The source as open_clip knows it: what is inside this package is a local folder to it, any other is itself."""
    if source.architecture != POCKET:
        return source
    if source.pretrained not in (None, POCKET):
        raise EncoderError(f"--clip {POCKET}/{source.pretrained}: its weights are: {POCKET}")
    wanted = ["open_clip_config.json"] + ["open_clip_model.safetensors"] * (source.checkpoint is None)
    for name in wanted:
        if not (POCKET_FOLDER / name).is_file():
            raise WeightsMissing(
                f"CLIP {POCKET}: this copy of the package lacks its file {POCKET_FOLDER / name}; install the package "
                f"again, give --clip-checkpoint FILE, or use --preset untrained (no download, no meaning)"
            )
    return ClipSource(f"local-dir:{POCKET_FOLDER}", None, source.checkpoint)


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
    with explained(f"CLIP {source.architecture}", f"{name}/open_clip_config.json", "--clip local-dir:FOLDER"):
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
    name = "" if source.architecture == UNTRAINED else _place_of(source).architecture
    with quiet(), explained(f"tokenizer of {source.architecture}", "its tokenizer files", "--clip local-dir:FOLDER"):
        return open_clip.get_tokenizer(name)
