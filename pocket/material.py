"""The training pools as pictures in memory, and random crops of them."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

UNLABELLED = 255

SYNONYMS = {  # what the data sets call a thing, and what it is called here
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "tvmonitor": "television",
    "aeroplane": "airplane",
    "body": "person",
    "pedestrian": "person",
    "bicyclist": "cyclist",
}
MARKED = {"voc_regions": "voc", "msrc_regions": "msrc", "camvid_train": "camvid"}
"""The pools with masks, and whose class list theirs is."""

NOT_A_NAME = {"void", "background"}


@dataclass(frozen=True)
class Picture:
    """One picture of a pool.

    Attributes:
        pixels: uint8 [H, W, 3], RGB.
        regions: uint8 [H, W], indexes into the region names of the material, 255 without a name; None without a mask.
        texts: captions, or the names of the one thing that the picture shows.
        pool: which pool it is from.
    """

    pixels: NDArray[np.uint8]
    regions: NDArray[np.uint8] | None
    texts: tuple[str, ...]
    pool: str


@dataclass(frozen=True)
class Material:
    """All pictures, and the names that their regions have."""

    pictures: tuple[Picture, ...]
    names: tuple[str, ...]
    named_in: dict[str, tuple[int, ...]]
    """For each pool with masks, the names that it marks wherever they occur."""


def read_material(pools: Path) -> Material:
    """Read the pools of a folder.

    Raises:
        FileNotFoundError: a pool is missing; the message names it.
    """
    names: list[str] = []
    pictures: list[Picture] = []
    named_in: dict[str, tuple[int, ...]] = {}
    for pool, classes in MARKED.items():
        lookup = _numbers(pools / f"{classes}_classes.txt", names)
        named_in[pool] = tuple(sorted(set(lookup.tolist()) - {UNLABELLED}))
        for files in _groups(pools / f"{pool}.tar"):
            regions = lookup[np.array(Image.open(io.BytesIO(files["png"])))]
            pictures.append(Picture(_pixels(files["jpg"]), regions, (), pool))
    for pool in ("flickr8k", "imagenet1000"):
        for files in _groups(pools / f"{pool}.tar"):
            lines = files["txt"].decode().strip().split("\n")
            if pool == "imagenet1000":
                lines = [name.strip() for line in lines for name in line.split(",")]
            pictures.append(Picture(_pixels(files["jpg"]), None, tuple(lines), pool))
    return Material(tuple(pictures), tuple(names), named_in)


def _numbers(classes: Path, names: list[str]) -> NDArray[np.uint8]:
    """From a mask's numbers to places in `names`, to which new names are added: uint8 [256]."""
    lookup = np.full(256, UNLABELLED, np.uint8)
    for number, written in enumerate(classes.read_text().split("\n")):
        name = SYNONYMS.get(written.strip(), written.strip())
        if name and name not in NOT_A_NAME:
            if name not in names:
                names.append(name)
            lookup[number] = names.index(name)
    return lookup


@dataclass(frozen=True)
class Crops:
    """How pictures are cropped.

    Attributes:
        side: pixels along the side of a crop.
        zoom: range of the enlargement, drawn log-uniformly; 1 leaves the picture's pixels as they are.
    """

    side: int = 160
    zoom: tuple[float, float] = (1.0, 2.4)

    def draw(self, picture: Picture, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A random crop: zoomed, squeezed a little, mirrored half of the time, its colours shifted.

        Returns:
            uint8 [side, side, 3] and the names of its regions, uint8 [side, side].
        """
        height, width = picture.pixels.shape[:2]
        zoom = np.exp(random.uniform(*np.log(self.zoom)))
        squeeze = np.exp(random.uniform(-0.2, 0.2))
        h, w = min(height, self.side / zoom * squeeze), min(width, self.side / zoom / squeeze)
        y, x = random.uniform(0, height - h), random.uniform(0, width - w)
        matrix = np.array([[w / self.side, 0, x], [0, h / self.side, y]], np.float32)
        if random.random() < 0.5:
            matrix[0] = [-w / self.side, 0, x + w - 1]
        flags = cv2.WARP_INVERSE_MAP
        size = (self.side, self.side)
        pixels: Any = cv2.warpAffine(
            picture.pixels, matrix, size, flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        if picture.regions is None:
            return _jitter(pixels, random), np.full(size, UNLABELLED, np.uint8)
        regions: Any = cv2.warpAffine(
            picture.regions, matrix, size, flags=flags | cv2.INTER_NEAREST, borderValue=UNLABELLED
        )
        return _jitter(pixels, random), regions


def _jitter(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Brightness, contrast, saturation and white balance, one affine map of the three channels."""
    contrast, light = random.uniform(0.7, 1.3), random.uniform(-25, 25)
    saturation, balance = random.uniform(0.6, 1.4), random.uniform(0.92, 1.08, 3)
    grey = np.array([[0.299, 0.587, 0.114]] * 3)
    mix = contrast * (saturation * np.eye(3) + (1 - saturation) * grey) * balance[:, None]
    offset = light + 128 * (1 - contrast)
    shifted = cv2.transform(pixels, np.hstack([mix, np.full((3, 1), offset)]).astype(np.float32))
    return shifted.astype(np.uint8)


def _groups(tar: Path) -> Iterator[dict[str, bytes]]:
    """The files of a tar that share a name, by suffix."""
    with tarfile.open(tar) as archive:
        stem, files = "", dict[str, bytes]()
        for member in archive:
            if not member.isfile():
                continue
            name, _, suffix = member.name.rpartition(".")
            if name != stem and files:
                yield files
                files = {}
            stem = name
            content = archive.extractfile(member)
            assert content is not None
            files[suffix] = content.read()
        if files:
            yield files


def _pixels(content: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))
