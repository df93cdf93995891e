"""Which trunk for the pocket pair: the same losses, the same minutes, random weights.

    python benchmarks/pocket_trunks.py ../shared/data --minutes 4

Prints, for a ViT, for the MobileNetV2, and for the MobileNetV2 with the block stage before it (its time counted), how
many crops were seen and how often the regions of held-out pictures were named correctly. Two cores are enough.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from pocket.batches import Draw
from pocket.blockwise import BATCH, train_blocks
from pocket.checkpoints import Place
from pocket.config import JointConfig
from pocket.joint import held_out
from pocket.losses import Guides, Names, losses_of
from pocket.material import Material, read_material
from pocket.optimiser import Optimiser
from pocket.sentences import embed_sentences
from pocket.student import new_trunk
from pocket.tower import Tower

WIDTH, DEPTH, HEADS = 192, 8, 3


class TransformerTower(Tower):
    """The same heads on a vision transformer's patches; it has no blocks that the hints would fit."""

    def __init__(self, side: int, sentences: NDArray[np.float16]) -> None:
        network = VisionTransformer(
            img_size=side,
            patch_size=16,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            num_classes=0,
            dynamic_img_size=True,
        )
        super().__init__(network, sentences, WIDTH)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """No block outputs, and features [B, 192, h, w]."""
        tokens = self.trunk.forward_features(pictures)[:, self.trunk.num_prefix_tokens :]
        rows, cols = pictures.shape[2] // 16, pictures.shape[3] // 16
        return [], tokens.transpose(1, 2).reshape(len(tokens), -1, rows, cols)


def train_for(tower: Tower, seconds: float, rates: tuple[float, float], material: Material, place: Place) -> str:
    """Train for so long, with the schedule of the time; returns one line."""
    captions = [text for picture in material.pictures if picture.pool == "flickr8k" for text in picture.texts]
    names, guides = Names.read(material, place), Guides(place)
    draw = Draw(material, torch.from_numpy(embed_sentences(captions, place.work)).float())
    optimiser, config = Optimiser([tower], matrices=rates[0], rest=rates[1]), JointConfig()
    started, step = time.monotonic(), 0
    while (spent := time.monotonic() - started) < seconds:
        losses = losses_of(tower, draw(np.random.default_rng((0, step)), config, "cpu"), guides, names)
        optimiser.step(torch.stack(list(losses.values())).sum(), spent / seconds)
        step += 1
    return f"{step * config.batch:,} crops; {held_out(tower, material, names)}"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--work", type=Path, default=Path("pocket-trunks"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    material = read_material(arguments.material / "pool")
    place = Place(arguments.material / "teachers", arguments.work, lambda step, line: None)
    place.work.mkdir(exist_ok=True)
    captions = [text for picture in material.pictures if picture.pool == "flickr8k" for text in picture.texts]
    sentences, seconds = embed_sentences(captions, place.work), 60 * arguments.minutes

    def report(name: str, tower: Tower, time_left: float, rates: tuple[float, float] = (0.03, 3e-3)) -> None:
        print(f"{name}: {train_for(tower.train(), time_left, rates, material, place)}", flush=True)

    torch.manual_seed(0)
    report("ViT, 192 wide, 8 deep", TransformerTower(JointConfig().side, sentences), seconds, (0.02, 1e-3))
    report("MobileNetV2", Tower(new_trunk(), sentences), seconds)
    started = time.monotonic()
    trunk: Any = train_blocks(material, place, 60 * int(arguments.minutes), 0)
    spent = time.monotonic() - started
    crops = 60 * int(arguments.minutes) * BATCH
    report(f"MobileNetV2 after {crops:,} crops block by block", Tower(trunk, sentences), seconds - spent)


if __name__ == "__main__":
    main()
