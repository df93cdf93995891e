"""Loading a CLIP by its usual name or from local files."""

import json
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import (  # the only ways to a hub model's configuration and to a folder's file
    _find_checkpoint_in_dir,
    _get_hf_config,
)
from open_clip.transform import PreprocessCfg
from torch import Tensor

from encoders.blank import NothingRandom
from encoders.checkpoints import check_checkpoint, fill_from_elsewhere
from encoders.errors import EncoderError, WeightsMissing
from encoders.loading import check_finite, explained, quiet
from encoders.presets import POCKET, UNTRAINED
from encoders.untrained import CLIP_CONFIG, untrained_clip

POCKET_FOLDER = Path(__file__).parent / "pocket"
"""Where this copy of the package keeps the small CLIP; nothing that is written to disk says it."""

_LOCAL = "local-dir:"
_SCHEMES = ("hf-hub:", _LOCAL)


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


_POSITIONS = {  # of the text tower open_clip makes one name of the other
    "text": ("positional_embedding", "text.positional_embedding"),
    "image": ("visual.positional_embedding",),
}


@dataclass(frozen=True)
class LoadedClip:
    """An open_clip network in evaluation mode, the configuration it was made from, and its source."""

    network: Any
    config: dict[str, Any]
    source: ClipSource


def load_clip(source: ClipSource) -> LoadedClip:
    """Load a CLIP in float32, whatever precision its file has.

    Raises:
        EncoderError: no such architecture or weights, or a checkpoint that does not fit it or holds what is no number.
        WeightsMissing: the weights are not on this machine and no hub can be reached, or not in this package.
    """
    place = _place_of(source)
    held = check_checkpoint(place.checkpoint, source.architecture, "--clip-checkpoint")
    if source.architecture == UNTRAINED:
        return LoadedClip(untrained_clip(), CLIP_CONFIG, source)
    config, options = _clip_options(place)
    wanted = _clip_files(place)
    _require_text_settings(source, config)
    said = explained(f"CLIP {source.architecture}", wanted, "--clip-checkpoint")
    with quiet(), said, NothingRandom():
        network = open_clip.create_model(place.architecture, precision="fp32", weights_only=True, **options)
        if place.checkpoint is not None:
            _fill(network, place.checkpoint, held)
    check_finite(network, f"CLIP {source.architecture}, {wanted}", "--clip-checkpoint")
    return LoadedClip(network.eval(), config, source)


def _require_text_settings(source: ClipSource, config: dict[str, Any]) -> None:
    """Refuse a text tower of Hugging Face's whose own configuration is missing: no file or folder of a CLIP has it.

    Raises:
        WeightsMissing: it is not on this machine and no hub can be reached.
    """
    name = config["text_cfg"].get("hf_model_name")
    if name:
        what, flag = f"CLIP {source.architecture}", "HF_HOME, as part of a hub's cache"
        with quiet(), explained(what, f"{name}/config.json", flag, f"text tower's settings ({name})"):
            import_module("transformers").AutoConfig.from_pretrained(name)


def _fill(network: Any, checkpoint: Path, held: dict[str, Tensor]) -> None:
    """Fill a network from a file that was checked, also where its weights do not lie where open_clip looks for them."""
    for tower, names in _POSITIONS.items():
        kept = [prefix + name for prefix in ("", "module.") for name in names]  # training on several GPUs adds a prefix
        expected, found = (
            next((len(tensors[name]) for name in kept if name in tensors), None)
            for tensors in (network.state_dict(), held)
        )
        if None not in (expected, found) and found != expected:
            raise EncoderError(  # open_clip would resample them, and what it sees or reads would mean something else
                f"--clip-checkpoint {checkpoint}: its {tower} tower has {found} positions, that of this "
                f"architecture {expected}; name the architecture that the file is of"
            )
    try:
        open_clip.load_checkpoint(network, str(checkpoint), weights_only=True)
    except Exception:  # of the names that are missing, or of whatever came of them
        if not fill_from_elsewhere(network, checkpoint, "--clip-checkpoint"):
            raise


def _place_of(source: ClipSource) -> ClipSource:
    """The source as open_clip knows it: what is inside this package is a local folder to it, any other is itself.

    The file that open_clip would find in a local folder is its checkpoint.
    """
    if source.architecture.startswith(_LOCAL) and source.checkpoint is None:
        found = _find_checkpoint_in_dir(Path(source.architecture.removeprefix(_LOCAL)))
        return replace(source, checkpoint=Path(found)) if found else source
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
    return _place_of(ClipSource(f"{_LOCAL}{POCKET_FOLDER}", None, source.checkpoint))


def _clip_options(source: ClipSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration, and what `open_clip.create_model` needs besides its name."""
    # Left to itself, open_clip returns a random network where it finds no weights, and takes no file for a folder.
    options: dict[str, Any] = {"pretrained": source.pretrained, "require_pretrained": True}
    if source.checkpoint is not None:
        options = {"load_weights": False, "pretrained_text": False}
    if source.architecture.startswith(_SCHEMES):
        return _scheme_config(source), options
    config = open_clip.get_model_config(source.architecture)
    if config is None:
        raise EncoderError(
            f"--clip {source.architecture}: open_clip knows no such architecture; "
            f"`python -c 'import open_clip; print(open_clip.list_models())'` lists them"
        )
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
    if source.checkpoint is None and source.pretrained is None:
        raise EncoderError(
            f"--clip {source.architecture}: which weights? Write --clip {source.architecture}/WEIGHTS "
            f"or give --clip-checkpoint FILE"
        )
    return config, options


def other_weights(source: ClipSource) -> list[str]:
    """Published weights of an architecture that want another activation or other pixels than a nameless file gets.

    Weights do not say what they want, but their name does.

    Args:
        source: of a CLIP that was loaded.

    Returns:
        Their names; none where the source names its weights, or describes the network itself.
    """
    name = source.architecture
    if source.pretrained is not None or source.checkpoint is None or name not in open_clip.list_models():
        return []
    given = _wanted_by(source)
    tags = open_clip.list_pretrained_tags_by_model(name)
    return [tag for tag in tags if _wanted_by(replace(source, pretrained=tag)) != given]


def _wanted_by(source: ClipSource) -> tuple[Any, ...]:
    """Whether the activation is QuickGELU, then mean, standard deviation and interpolation of the pixels."""
    config, options = _clip_options(source)
    pixels = asdict(PreprocessCfg()) | options.get("force_preprocess_cfg", {})
    return (
        bool(config.get("quick_gelu", False)),
        tuple(pixels["mean"]),
        tuple(pixels["std"]),
        pixels["interpolation"],
    )


def _scheme_config(source: ClipSource) -> dict[str, Any]:
    name = source.architecture.partition(":")[2]
    with explained(f"CLIP {source.architecture}", f"{name}/open_clip_config.json", "--clip local-dir:FOLDER"):
        if source.architecture.startswith("local-dir:"):
            path = Path(name) / "open_clip_config.json"
            if not path.is_file():
                raise EncoderError(f"--clip {source.architecture}: no file {path}")
            content = json.loads(path.read_text("utf-8"))
        else:
            content = _get_hf_config(name)
    try:
        return dict(content["model_cfg"])
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"--clip {source.architecture}: its open_clip_config.json has no model_cfg, in which open_clip describes a "
            f"network; found {', '.join(map(str, content)) if isinstance(content, dict) else type(content).__name__}"
        ) from error


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
    what = f"tokenizer of {source.architecture}"
    with quiet(), explained(what, "its tokenizer files", "--clip local-dir:FOLDER", "files"):
        return open_clip.get_tokenizer(name)
