"""Quantised TFLite networks as float torch graphs: teachers at any picture size.

B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018:
a stored integer q stands for the real number `scale * (q - zero)`. Weights are dequantised once; activations stay in
float, so nothing is rounded between the layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

OPERATORS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}


@dataclass(frozen=True)
class Step:
    """One operator of the graph: where it reads, where it writes, and how it moves over the picture.

    `ceiling` is the value at which its rectifier ends: 6, infinity, or None without a rectifier.
    """

    operator: str
    reads: tuple[int, ...]
    writes: int
    stride: int = 1
    dilation: int = 1
    ceiling: float | None = None


class Teacher(nn.Module):
    """A convolutional TFLite network that runs on pictures of any size.

    "SAME" padding is symmetric here, as torch pads; TensorFlow pads even sizes on one side only. The two differ in
    where the sampling grid starts, not in what a layer computes.

    Attributes:
        steps: the operators in order.
        names: the name of each tensor that a step writes.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file."""
        super().__init__()
        model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        graph = model.Subgraphs(0)
        self.steps = [_step(model, graph.Operators(index)) for index in range(graph.OperatorsLength())]
        self.names = {step.writes: graph.Tensors(step.writes).Name().decode() for step in self.steps}
        self.input = int(graph.InputsAsNumpy()[0])
        for step in self.steps:
            if step.operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                weight = _constant(model, graph.Tensors(step.reads[1]))  # [out, k, k, in], depthwise [1, k, k, out]
                kernel = (
                    weight.transpose(3, 0, 1, 2) if step.operator.startswith("DEPTH") else weight.transpose(0, 3, 1, 2)
                )
                self.register_buffer(f"weight{step.reads[1]}", torch.from_numpy(np.ascontiguousarray(kernel)))
                self.register_buffer(
                    f"bias{step.reads[2]}", torch.from_numpy(_constant(model, graph.Tensors(step.reads[2])))
                )

    def forward(self, pictures: Tensor, wanted: Sequence[int], *, stride: int = 32) -> list[Tensor]:
        """Run the graph.

        Args:
            pictures: [B, 3, H, W], RGB in [-1, 1].
            wanted: tensor numbers, as in `steps`.
            stride: pixels between locations of the last map; below the network's own, later layers are dilated.

        Returns:
            One [B, C, h, w] for each wanted tensor.

        Raises:
            ValueError: on the way there is an operator that is not needed by the teachers we have.
        """
        tensors = {self.input: pictures}
        missing, current, dilation = set(wanted), 1, 1
        for step in self.steps:
            if not missing:
                break
            if step.reads[0] not in tensors:
                continue
            own_dilation = step.dilation * dilation
            moved = step.stride
            if moved > 1:
                if current * moved > stride:
                    dilation, moved = dilation * moved, 1
                else:
                    current *= moved
            tensors[step.writes] = self._run(
                step, [tensors[t] for t in step.reads if t in tensors], moved, own_dilation
            )
            missing.discard(step.writes)
        return [tensors[number] for number in wanted]

    def _run(self, step: Step, inputs: list[Tensor], stride: int, dilation: int) -> Tensor:
        if step.operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight, bias = getattr(self, f"weight{step.reads[1]}"), getattr(self, f"bias{step.reads[2]}")
            groups = len(weight) if step.operator.startswith("DEPTH") else 1
            padding = dilation * (weight.shape[-1] - 1) // 2
            out = F.conv2d(inputs[0], weight, bias, stride, padding, dilation, groups)
        elif step.operator == "ADD":
            out = inputs[0] + inputs[1]
        elif step.operator in ("AVERAGE_POOL_2D", "MEAN"):
            out = inputs[0].mean((2, 3), keepdim=True)
        elif step.operator == "CONCATENATION":
            size = max(inputs, key=lambda tensor: tensor.shape[-1]).shape[2:]
            out = torch.cat([tensor.expand(-1, -1, *size) for tensor in inputs], 1)
        elif step.operator in ("RESIZE_BILINEAR", "QUANTIZE"):  # only of 1x1 maps, which CONCATENATION spreads
            out = inputs[0]
        else:
            raise ValueError(f"{step.operator} is not an operator of the teachers; expected a MobileNetV2 or DeepLabV3")
        return out if step.ceiling is None else out.clamp(0, step.ceiling)


def _step(model: Any, operator: Any) -> Step:
    code = model.OperatorCodes(operator.OpcodeIndex())
    name = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    kind = {
        "CONV_2D": tflite.Conv2DOptions,
        "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
        "ADD": tflite.AddOptions,
    }
    reads = tuple(int(number) for number in operator.InputsAsNumpy())
    writes = int(operator.OutputsAsNumpy()[0])
    if name not in kind:
        return Step(name, reads, writes)
    options = kind[name]()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    ceiling = {tflite.ActivationFunctionType.RELU6: 6.0, tflite.ActivationFunctionType.RELU: math.inf}.get(
        options.FusedActivationFunction()
    )
    if name == "ADD":
        return Step(name, reads, writes, ceiling=ceiling)
    return Step(name, reads, writes, options.StrideH(), options.DilationHFactor(), ceiling)


def _constant(model: Any, tensor: Any) -> NDArray[np.float32]:
    """A stored tensor as real numbers, [shape as stored]."""
    stored = {tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT8: np.int8, tflite.TensorType.INT32: np.int32}
    integers = np.frombuffer(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), stored[tensor.Type()])
    shape, quantised = tensor.ShapeAsNumpy(), tensor.Quantization()
    scale, zero = quantised.ScaleAsNumpy(), quantised.ZeroPointAsNumpy()
    along = [1] * len(shape)
    if len(scale) > 1:
        along[quantised.QuantizedDimension()] = len(scale)
    real = (integers.reshape(shape).astype(np.float64) - zero.reshape(along)) * scale.reshape(along)
    return real.astype(np.float32)
