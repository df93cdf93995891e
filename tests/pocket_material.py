"""Stand-ins for what the pocket pair is trained with: tiny pools, teachers, sentences and towers by dice."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from conftest import Crash
from convolutional import settled
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pocket.config import PocketConfig
from pocket.losses import Names
from pocket.student import new_trunk
from pocket.tower import Tower

CLASSES = {
    "voc": "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor",
    "msrc": "void building grass tree cow face car flower body",
    "camvid": "sky tree car pedestrian bicyclist void",
}
"""Class lists as the pools have them, the first class being number 0."""

IMAGENET = ("background", "tench, Tinca tinca", "goldfish, Carassius auratus", "balloon", "cup")
"""Lines of the teachers' list of labels; the first is no class."""

HINT_SHAPES = (
    ((16, 2), (24, 4), (24, 4), (32, 8), (32, 8), (32, 8))
    + ((64, 16),) * 4
    + ((96, 16),) * 3
    + ((160, 16),) * 3
    + ((320, 16),)
)
"""Channels and stride behind each of MobileNetV2's seventeen blocks, where no later one than 16 is left."""

TINY_CLIP = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    """A tar of files, in order."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def jpg(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3] as a JPEG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


def png(numbers: NDArray[np.uint8], *, colours: bool = False) -> bytes:
    """uint8 [H, W] as a PNG of numbers, either as grey values or as places in a palette, as VOC stores them."""
    content, image = io.BytesIO(), Image.fromarray(numbers)
    if colours:
        image = image.convert("P")
        image.putdata(numbers.ravel().tolist())
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(content, "PNG")
    return content.getvalue()


def write_pools(folder: Path, marked: int = 3, others: int = 4, size: tuple[int, int] = (40, 56)) -> None:
    """All pools in the layout that training expects.

    Every picture is of one colour of its own. Every mask has a left half that is numbered by the picture, a right half
    of class 1, and a top row of 255. Flickr8k's picture n has the captions "n says 0" and "n says 1".
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for classes, names in CLASSES.items():
        (folder / f"{classes}_classes.txt").write_text("\n".join(names.split(" ")) + "\n")
    for pool, classes in (("voc_regions", "voc"), ("msrc_regions", "msrc"), ("camvid_train", "camvid")):
        files = {}
        for number in range(marked):
            mask = np.full(size, 1, np.uint8)
            mask[:, : size[1] // 2] = number % len(CLASSES[classes].split(" "))
            mask[0] = 255
            files[f"{number:04d}.jpg"] = jpg(np.full((*size, 3), random.integers(0, 256, 3), np.uint8))
            files[f"{number:04d}.png"] = png(mask, colours=classes == "voc")
        write_tar(folder / f"{pool}.tar", files)
    for pool in ("flickr8k", "imagenet1000"):
        files = {}
        for number in range(others):
            text = f"{number} says 0\n{number} says 1\n" if pool == "flickr8k" else IMAGENET[1 + number % 4]
            files[f"some.{number}.jpg"] = jpg(np.full((*size, 3), random.integers(0, 256, 3), np.uint8))
            files[f"some.{number}.txt"] = text.encode()
        write_tar(folder / f"{pool}.tar", files)


def diced_sentences(lines: Sequence[str], folder: Path) -> NDArray[np.float16]:
    """In place of `embed_sentences`: a unit vector for every line, always the same for the same line."""
    digests = [int.from_bytes(sha256(line.encode()).digest()[:8], "little") for line in lines]
    vectors = np.stack([np.random.default_rng(digest).normal(size=384) for digest in digests])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def diced_hints(pictures: Tensor) -> list[Tensor]:
    """What a teacher's seventeen blocks could say of pictures [B, 3, S, S], alike for any pictures of the same size."""
    dice, side = torch.Generator().manual_seed(0), pictures.shape[-1]
    return [
        torch.randn(len(pictures), channels, side // stride, side // stride, generator=dice)
        for channels, stride in HINT_SHAPES
    ]


class DicedTeacher(nn.Module):
    """In place of `Teacher`, for the hints."""

    def __init__(self, path: Path) -> None:
        super().__init__()

    def forward(self, pictures: Tensor, wanted: Sequence[int], *, stride: int) -> list[Tensor]:
        """Hints that no picture has a say in."""
        assert (len(wanted), stride) == (17, 16)
        return diced_hints(pictures)


class DicedGuides:
    """In place of `Guides`: opinions that no picture has a say in."""

    def __init__(self, place: Any = None) -> None:
        pass

    def __call__(self, pictures: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Hints, features, classes, ImageNet classes."""
        hints, dice = diced_hints(pictures), torch.Generator().manual_seed(1)
        grid = (hints[-1].shape[0], *hints[-1].shape[2:])
        features, classes, imagenet = (
            torch.randn(grid[0], channels, *grid[1:], generator=dice) for channels in (256, 21, len(IMAGENET) - 1)
        )
        return hints, features, classes.softmax(1), imagenet.softmax(1)


def crashing_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, until its n-th call, counted from 0."""
    calls = iter(range(1_000_000))

    def crash_or_go_on(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise Crash
        return function(*arguments, **named)

    return crash_or_go_on


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def diced_names(count: int) -> Names:
    dice = torch.Generator().manual_seed(3)
    vectors = [F.normalize(torch.randn(4, some, 384, generator=dice), dim=-1) for some in (count, len(IMAGENET) - 1)]
    return Names(vectors[0], vectors[1], torch.ones(count, count, dtype=torch.bool), torch.ones(count))


def new_tower() -> Tower:
    torch.manual_seed(0)
    return Tower(settled(new_trunk()), diced_sentences([f"line {number}" for number in range(500)], Path())).eval()


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def surprise(scores: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Cross-entropy of one row of scores with the shares that its entries should have."""
    shares = np.exp(scores - scores.max())
    return float(-(target * np.log(shares / shares.sum())).sum())


def write_lines(captions: Path, vocabulary: Path) -> None:
    """What the text tower reads, in the layout that training expects."""
    captions.mkdir(parents=True)
    pq.write_table(pa.table({"text": [f"caption {n}" for n in range(50)]}), captions / "mixed_756k.parquet")
    for file, names in {
        "v3det/category_name_13204_v3det_2023_v1.txt": "sea_urchin\nboat\n",
        "ram/ram_tag_list.txt": "boat\nzebra crossing\n",
        "visual_genome_1600/objects_vocab.txt": "hat",
        "objects365/names.txt": "boat\n\n",
    }.items():
        (vocabulary / file).parent.mkdir(parents=True)
        (vocabulary / file).write_text(names)


def material_folder(folder: Path, **options: Any) -> PocketConfig:
    """A config of a folder with everything that training reads."""
    write_pools(folder / "material/pool", marked=21, others=4)
    write_lines(folder / "material/captions", folder / "material/vocab")
    (folder / "material/teachers").mkdir()
    (folder / "material/teachers/imagenet_labels.txt").write_text("\n".join(IMAGENET) + "\n")
    (folder / "out").mkdir()
    (folder / "out/open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    return PocketConfig(material=folder / "material", work=folder / "work", out=folder / "out", **options)
