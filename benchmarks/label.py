"""Seconds for labelling pictures against the networks' own forward passes, and the peak of memory.

    python benchmarks/label.py PICTURES [--rounds 5] [--repeat 2] [--base]

Uses the small pair and an index of the bundled sentences. With --base, networks of the size of ViT-B/16 and DINOv2
ViT-B/14 with random weights instead: times are those of the real ones, names mean nothing.

A round goes over the whole list four times: the two networks' forward passes alone, one picture after another, on all
threads that torch takes by default, first as timm and open_clip compute them and then as we do, with layers packed and
norms folded; `Labeler.label` for each picture, which is how long a single one takes; and `Labeler.label_many` for the
list. Figures are medians of rounds, per picture, and ratios are those of the medians.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import open_clip
import timm
from numpy.typing import NDArray
from safetensors.torch import save_file

from build_index.__main__ import main as build_index
from encoders import dense
from encoders.feature_map import FeatureMap
from labeler.config import LabelerConfig
from labeler.pipeline import Labeler
from segmenter import load_picture

Picture = NDArray[np.uint8]

CLIP, DINO = "ViT-B-16", "vit_base_patch14_reg4_dinov2"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=2, help="each picture is that often in the list, half mirrored")
    parser.add_argument("--base", action="store_true")
    arguments = parser.parse_args()
    pictures = [load_picture(path) for path in sorted(arguments.pictures.iterdir())]
    pictures = [picture[:, :: 1 - 2 * (turn % 2)].copy() for turn in range(arguments.repeat) for picture in pictures]
    with tempfile.TemporaryDirectory() as folder:
        opened = base_labeler(Path(folder)) if arguments.base else pocket_labeler(Path(folder))
        plain_s, look_s, label_s, many_s = measure(*opened, pictures, arguments.rounds)
    peak, labeler = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, opened[0]
    print(
        f"{labeler.models.description['clip']}, {labeler.models.description['dino']}: {len(pictures)} pictures, "
        f"{labeler.models.threads.workers} at a time; networks {1000 * plain_s:.1f} ms a picture as their libraries "
        f"compute them, {1000 * look_s:.1f} ms here; "
        f"label_many {1000 * many_s:.1f} ms, ratios {many_s / plain_s:.2f} and {many_s / look_s:.2f}; "
        f"label {1000 * label_s:.1f} ms, ratios {label_s / plain_s:.2f} and {label_s / look_s:.2f}; "
        f"peak {peak:,.0f} MB, all told, with the networks twice"
    )


def measure(labeler: Labeler, plain: Labeler, pictures: list[Picture], rounds: int) -> list[float]:
    """Seconds a picture: networks alone, plain and ours, label, label_many. A first round is not counted."""
    ways: list[Callable[[], object]] = [
        lambda: [look(plain, picture) for picture in pictures],
        lambda: [look(labeler, picture) for picture in pictures],
        lambda: [labeler.label(picture) for picture in pictures],
        lambda: list(labeler.label_many(pictures)),
    ]
    taken = [[seconds(way) / len(pictures) for way in ways] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def look(labeler: Labeler, picture: Picture) -> None:
    """The forward passes alone."""
    labeler.models.patch_features.embed(picture)
    labeler.models.clip_dense.embed(picture)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pocket_labeler(folder: Path) -> tuple[Labeler, Labeler]:
    """The small pair, as it is used and as its libraries compute it."""
    build_index(["--corpus", "demo", "--preset", "pocket", "--out", str(folder / "shards")])
    return both_ways(lambda: Labeler.open(folder / "shards"))


def both_ways(opened: Callable[[], Labeler]) -> tuple[Labeler, Labeler]:
    """A labeler, and the same one with networks as their libraries compute them."""
    with patch.object(dense, "pack_layers"), patch.object(FeatureMap, "fold"):
        plain = opened()
    return opened(), plain


def base_labeler(folder: Path) -> tuple[Labeler, Labeler]:
    """Random weights of the default preset's size, in files as a user would give them."""
    clip, dino = folder / "clip.safetensors", folder / "dino.safetensors"
    save_file({name: each.contiguous() for name, each in open_clip.create_model(CLIP).state_dict().items()}, clip)
    save_file({name: each.contiguous() for name, each in timm.create_model(DINO).state_dict().items()}, dino)
    index = str(folder / "shards")
    flags = ["--clip", f"{CLIP}/openai", "--clip-checkpoint", str(clip), "--concept-prompts", "{}"]
    build_index(["--corpus", "demo", "--out", index, *flags])
    config = LabelerConfig(index=folder / "shards", clip_checkpoint=clip, dino=DINO, dino_checkpoint=dino)
    return both_ways(lambda: Labeler.open(index, config))


if __name__ == "__main__":
    main()
