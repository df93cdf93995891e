"""What a training run can be told."""

from dataclasses import dataclass, field
from pathlib import Path

import encoders

CLIP_CONFIG = "open_clip_config.json"


@dataclass(frozen=True, kw_only=True)
class PocketConfig:
    """Train the pocket pair: a small CLIP from random weights, taught by captions, regions and two small networks."""

    material: Path = field(metadata={"help": "folder with pool/, teachers/, captions/ and vocab/"})
    work: Path = field(default=Path("pocket-work"), metadata={"help": "checkpoints, from which a stopped run goes on"})
    out: Path = field(
        default=Path(encoders.__file__).parent / "pocket",
        metadata={"help": f"folder with {CLIP_CONFIG}; gets the weights"},
    )
    block_steps: int = field(default=1400, metadata={"help": "first stage: batches of 16 crops"})
    joint_steps: int = field(default=1600, metadata={"help": "second stage: batches of 24 crops"})
    refine_steps: int = field(default=3000, metadata={"help": "third stage: batches of 16 larger crops"})
    text_steps: int = field(default=1500, metadata={"help": "fourth stage: batches of 512 lines"})
    name_steps: int = field(default=400, metadata={"help": "and then batches of names"})
    captions: int = field(default=100_000, metadata={"help": "fourth stage: captions that are read"})
    seed: int = field(default=0, metadata={"help": "of weights, order and crops"})
    device: str = field(default="cpu", metadata={"help": "cpu or cuda"})

    def __post_init__(self) -> None:
        for flag in (
            "block_steps",
            "joint_steps",
            "refine_steps",
            "text_steps",
            "name_steps",
            "captions",
        ):
            if getattr(self, flag) < 1:
                raise ValueError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: must be 1 or more")
        for folder in ("pool", "teachers", "captions", "vocab"):
            if not (self.material / folder).is_dir():
                raise ValueError(f"--material {self.material}: has no folder {folder}/")
        if not (self.out / CLIP_CONFIG).is_file():  # it is read after hours of training
            raise ValueError(f"--out {self.out}: has no {CLIP_CONFIG}; copy it there from encoders/pocket")


@dataclass(frozen=True)
class JointConfig:
    """How long the whole tower learns, and how.

    Attributes:
        steps: batches.
        batch: crops in a batch.
        side: pixels along the side of a crop.
        seed: of order and crops.
        matrices: highest rate of Muon.
        rest: highest rate of AdamW.
        features: weight of the loss of the DeepLabV3 teacher's features.
        soft: weight of the loss of its classes.
        by_region: weight of the loss of whole regions.
        name: of the checkpoint.
    """

    steps: int = 1600
    batch: int = 24
    side: int = 128
    seed: int = 0
    matrices: float = 0.03
    rest: float = 3e-3
    features: float = 0.5
    soft: float = 0.5
    by_region: float = 0.0
    name: str = "joint"


JOINT = JointConfig()
