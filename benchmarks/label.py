"""Seconds for labelling a picture against the networks' own forward passes, and the peak of memory.

    python benchmarks/label.py PICTURES [--rounds 3] [--base]

Uses the small pair and an index of the bundled sentences. With --base, networks of the size of ViT-B/16 and DINOv2
ViT-B/14 with random weights instead: times are those of the real ones, names mean nothing. The two are measured in turn
on the same pictures, and the medians are compared.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import timm
from safetensors.torch import save_file

from build_index.__main__ import main as build_index
from labeler.config import LabelerConfig
from labeler.pipeline import Labeler
from segmenter import load_picture

CLIP, DINO = "ViT-B-16", "vit_base_patch14_reg4_dinov2"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", action="store_true")
    arguments = parser.parse_args()
    pictures = [load_picture(path) for path in sorted(arguments.pictures.iterdir())]
    with tempfile.TemporaryDirectory() as folder:
        labeler = base_labeler(Path(folder)) if arguments.base else pocket_labeler(Path(folder))
        networks, whole = [], []
        for _ in range(arguments.rounds):
            for picture in pictures:
                networks.append(seconds(lambda picture: look(labeler, picture), picture))
                whole.append(seconds(labeler.label, picture[:, ::-1].copy()))  # another picture: nothing is remembered
    look_s, label_s = statistics.median(networks), statistics.median(whole)
    ratios = [one / other for one, other in zip(whole, networks, strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{labeler.models.description['clip']}, {labeler.models.description['dino']}: networks {1000 * look_s:.0f} ms, "
        f"label {1000 * label_s:.0f} ms, ratio {statistics.median(ratios):.2f}; peak {peak:,.0f} MB, all told"
    )


def look(labeler: Labeler, picture: Any) -> None:
    """The forward passes alone."""
    labeler.models.patch_features.embed(picture)
    labeler.models.clip_dense.embed(picture)


def seconds(work: Callable[[Any], Any], picture: Any) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work(picture)
    return time.perf_counter() - started


def pocket_labeler(folder: Path) -> Labeler:
    """The small pair."""
    build_index(["--corpus", "demo", "--preset", "pocket", "--out", str(folder / "shards")])
    return Labeler.open(folder / "shards")


def base_labeler(folder: Path) -> Labeler:
    """Random weights of the default preset's size, in files as a user would give them."""
    clip, dino = folder / "clip.safetensors", folder / "dino.safetensors"
    save_file({name: each.contiguous() for name, each in open_clip.create_model(CLIP).state_dict().items()}, clip)
    save_file({name: each.contiguous() for name, each in timm.create_model(DINO).state_dict().items()}, dino)
    index = str(folder / "shards")
    flags = ["--clip", f"{CLIP}/openai", "--clip-checkpoint", str(clip), "--concept-prompts", "{}"]
    build_index(["--corpus", "demo", "--out", index, *flags])
    config = LabelerConfig(index=folder / "shards", clip_checkpoint=clip, dino=DINO, dino_checkpoint=dino)
    return Labeler.open(index, config)


if __name__ == "__main__":
    main()
