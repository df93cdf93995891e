"""Stand-ins for what the pocket pair is trained with: tiny pools, tiny TFLite files, teachers and sentences by dice."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Quantised:
    """A tensor as TFLite stores it.

    Attributes:
        integers: of the stored type and shape.
        scales: one, or one for each slice along the axis.
        zeros: as many; a stored integer q stands for scale * (q - zero).
        axis: along which scales differ.
    """

    integers: NDArray[Any]
    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int = 0

    def real(self) -> NDArray[np.float64]:
        """What it stands for, one number after the other."""
        numbers = np.zeros(self.integers.shape)
        for place in np.ndindex(self.integers.shape):
            part = place[self.axis] if len(self.scales) > 1 else 0
            numbers[place] = np.float64(np.float32(self.scales[part])) * (int(self.integers[place]) - self.zeros[part])
        return numbers


@dataclass
class TinyGraph:
    """A TFLite file in the making; tensor 0 is the picture, and every method returns the number of what it adds."""

    constants: dict[int, Quantised] = field(default_factory=dict)
    operators: list[tuple[int, tuple[int, ...], int, dict[str, int]]] = field(default_factory=list)
    tensors: int = 1

    def constant(self, content: Quantised) -> int:
        """Something that is stored."""
        self.tensors += 1
        self.constants[self.tensors - 1] = content
        return self.tensors - 1

    def add(self, operator: int, *reads: int, **options: int) -> int:
        """An operator and what it writes; options are fields of its table, such as StrideH."""
        self.tensors += 1
        self.operators.append((operator, reads, self.tensors - 1, options))
        return self.tensors - 1

    def write(self, path: Path) -> Path:
        """Write the file."""
        builder = flatbuffers.Builder()
        tensors = [self._tensor(builder, number) for number in range(self.tensors)]
        kinds = sorted({operator[0] for operator in self.operators})
        operators = [self._operator(builder, kinds, *operator) for operator in self.operators]
        graph = _table(
            builder,
            "SubGraph",
            Tensors=_references(builder, tensors),
            Inputs=builder.CreateNumpyVector(np.array([0], np.int32)),
            Outputs=builder.CreateNumpyVector(np.array([self.tensors - 1], np.int32)),
            Operators=_references(builder, operators),
        )
        codes = [_table(builder, "OperatorCode", DeprecatedBuiltinCode=kind, BuiltinCode=kind) for kind in kinds]
        stored = [self.constants[number].integers for number in self.constants]
        contents = [builder.CreateNumpyVector(integers.ravel().view(np.uint8)) for integers in stored]
        buffers = [_table(builder, "Buffer")] + [_table(builder, "Buffer", Data=content) for content in contents]
        vectors = [_references(builder, some) for some in (codes, [graph], buffers)]
        model = dict(zip(("OperatorCodes", "Subgraphs", "Buffers"), vectors, strict=True))
        builder.Finish(_table(builder, "Model", Version=3, **model), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _tensor(self, builder: Any, number: int) -> int:
        named = builder.CreateString(f"tensor {number}")
        if number not in self.constants:
            return _table(builder, "Tensor", Type=tflite.TensorType.UINT8, Name=named)
        content = self.constants[number]
        kinds = {"uint8": tflite.TensorType.UINT8, "int8": tflite.TensorType.INT8, "int32": tflite.TensorType.INT32}
        quantisation = _table(
            builder,
            "QuantizationParameters",
            Scale=builder.CreateNumpyVector(np.array(content.scales, np.float32)),
            ZeroPoint=builder.CreateNumpyVector(np.array(content.zeros, np.int64)),
            QuantizedDimension=content.axis,
        )
        return _table(
            builder,
            "Tensor",
            Shape=builder.CreateNumpyVector(np.array(content.integers.shape, np.int32)),
            Type=kinds[content.integers.dtype.name],
            Buffer=1 + list(self.constants).index(number),
            Name=named,
            Quantization=quantisation,
        )

    def _operator(
        self, builder: Any, kinds: list[int], kind: int, reads: tuple[int, ...], writes: int, options: dict[str, int]
    ) -> int:
        tables = {
            tflite.BuiltinOperator.CONV_2D: "Conv2DOptions",
            tflite.BuiltinOperator.DEPTHWISE_CONV_2D: "DepthwiseConv2DOptions",
            tflite.BuiltinOperator.ADD: "AddOptions",
        }
        own = {}
        if kind in tables:
            own["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, tables[kind])
            own["BuiltinOptions"] = _table(builder, tables[kind], **options)
        return _table(
            builder,
            "Operator",
            OpcodeIndex=kinds.index(kind),
            Inputs=builder.CreateNumpyVector(np.array(reads, np.int32)),
            Outputs=builder.CreateNumpyVector(np.array([writes], np.int32)),
            **own,
        )


def _table(builder: Any, kind: str, **fields: int) -> int:
    """A table of the TFLite schema, by the functions that the package has for each of its fields."""
    getattr(tflite, f"{kind}Start")(builder)
    for name, value in fields.items():
        getattr(tflite, f"{kind}Add{name}")(builder, value)
    end: int = getattr(tflite, f"{kind}End")(builder)
    return end


def _references(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    end: int = builder.EndVector()
    return end
