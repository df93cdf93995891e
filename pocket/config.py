"""What a training run can be told."""

from dataclasses import dataclass, field
from pathlib import Path

import encoders


@dataclass(frozen=True, kw_only=True)
class PocketConfig:
    """Train the pocket pair: a small CLIP from random weights, taught by captions, regions and two small networks."""

    material: Path = field(metadata={"help": "folder with pool/, teachers/, captions/ and vocab/"})
    work: Path = field(default=Path("pocket-work"), metadata={"help": "checkpoints, from which a stopped run goes on"})
    out: Path = field(
        default=Path(encoders.__file__).parent / "pocket",
        metadata={"help": "folder with open_clip_config.json; gets the weights"},
    )
    block_steps: int = field(default=1400, metadata={"help": "first stage: batches of 16 crops"})
    joint_steps: int = field(default=1600, metadata={"help": "second stage: batches of 24 crops"})
    refine_steps: int = field(default=700, metadata={"help": "third stage: batches of 24 crops"})
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
