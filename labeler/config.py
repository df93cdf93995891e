"""Everything the labeler can be told; the commands' flags are made from this."""

from dataclasses import dataclass, field
from pathlib import Path

from encoders.presets import DenseMethod, PresetName
from segmenter import SegmentConfig


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(SegmentConfig):
    """What a picture's labels depend on."""

    index: Path = field(default=Path("shards"), metadata={"help": "an index, or a folder of them, searched together"})
    preset: PresetName | None = field(default=None, metadata={"help": "pair of networks (default: the index's)"})
    clip_checkpoint: Path | None = field(default=None, metadata={"help": "the CLIP's weights in a local file"})
    dino: str = field(
        default="", metadata={"help": "another timm model for outlines, or clip-trunk", "metavar": "MODEL"}
    )
    dino_checkpoint: Path | None = field(default=None, metadata={"help": "the DINOv2's weights in a local file"})
    dense: DenseMethod | None = field(
        default=None, metadata={"help": "how CLIP's patches get a meaning each (default: what fits its image tower)"}
    )
    short_side: int = field(default=448, metadata={"help": "pixels of a picture's short side inside the networks"})
    neighbours: int = field(default=10, metadata={"help": "captions retrieved for a segment, TAG's value"})
    batch_size: int = field(default=8, metadata={"help": "pictures whose segments are searched together"})
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("short_side", "neighbours", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class LabelConfig(LabelerConfig):
    """Outline and name every region of pictures, in the words of a caption index."""

    pictures: Path = field(metadata={"help": "a picture, or a folder of them (recursive)", "positional": True})
    out: Path = field(default=Path("labels"), metadata={"help": "writes OUT/<relative path>.json, .png, .overlay.jpg"})
