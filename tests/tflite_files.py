"""TFLite files in the making: quantised constants and the operators between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray


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
