"""Operators of ONNX in PyTorch, as far as networks that are learned anew need them.

No converter is used for this: those there are want torchvision, which has no build for processors here, and make modules from which the way
back to the constants of the graph is lost. What is evaluated here is the graph itself, and what is learned are its own constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modelyard.core.tensors import Array


@dataclass(frozen=True)
class Step:
    """One node, ready to be evaluated."""

    attributes: Mapping[str, Any]
    constants: Sequence[Array | None]
    """Of its inputs those that are constant, in their places."""

    def number(self, name: str, otherwise: float) -> float:
        return float(self.attributes.get(name, otherwise))

    def whole(self, name: str, otherwise: int) -> int:
        return int(self.attributes.get(name, otherwise))

    def several(self, name: str, place: int = -1) -> list[int] | None:
        """Whole numbers, that older operator sets have as an attribute and newer ones as a constant input."""
        if name in self.attributes:
            return [int(value) for value in self.attributes[name]]
        constant = self.constants[place] if 0 <= place < len(self.constants) else None
        return None if constant is None else [int(value) for value in constant.ravel()]


Operator = Callable[[Step, Sequence[Tensor]], Tensor]


def _gemm(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    left, right = inputs[0], inputs[1]
    left = left.T if step.whole("transA", 0) else left
    right = right.T if step.whole("transB", 0) else right
    product = left @ right * step.number("alpha", 1.0)
    return product + inputs[2] * step.number("beta", 1.0) if len(inputs) > 2 else product


def _convolution(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    picture, weights = inputs[0], inputs[1]
    dimensions = weights.ndim - 2
    kind = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[dimensions]
    picture = functional.pad(picture, _pads(step, dimensions))
    return kind(
        picture,
        weights,
        inputs[2] if len(inputs) > 2 else None,
        stride=step.several("strides") or [1] * dimensions,
        dilation=step.several("dilations") or [1] * dimensions,
        groups=step.whole("group", 1),
    )


def _pads(step: Step, dimensions: int) -> list[int]:
    """As PyTorch wants them: the last dimension first, before and after."""
    pads = step.several("pads") or [0] * (2 * dimensions)
    return [pads[side * dimensions + at] for at in reversed(range(dimensions)) for side in (0, 1)]


def _max_pool(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    size = step.several("kernel_shape") or []
    kind = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[len(size)]
    padded = functional.pad(inputs[0], _pads(step, len(size)), value=-torch.inf)
    return kind(
        padded,
        size,
        step.several("strides") or [1] * len(size),
        dilation=step.several("dilations") or 1,
        ceil_mode=bool(step.whole("ceil_mode", 0)),
    )


def _average_pool(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    size = step.several("kernel_shape") or []
    kind = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(size)]
    strides, pads, ceil = step.several("strides") or [1] * len(size), _pads(step, len(size)), bool(step.whole("ceil_mode", 0))
    padded = kind(functional.pad(inputs[0], pads), size, strides, ceil_mode=ceil)
    if step.whole("count_include_pad", 0) or not any(pads):
        return padded
    counted = kind(functional.pad(torch.ones_like(inputs[0][:1]), pads), size, strides, ceil_mode=ceil)
    return padded / counted


def _batch_norm(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    values, scale, shift, mean, variance = inputs[:5]
    return functional.batch_norm(values, mean, variance, scale, shift, training=False, eps=step.number("epsilon", 1e-5))


def _layer_norm(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    shape = inputs[0].shape[step.whole("axis", -1) :]
    return functional.layer_norm(inputs[0], shape, inputs[1], inputs[2] if len(inputs) > 2 else None, step.number("epsilon", 1e-5))


def _reshape(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    wanted = step.several("shape", 1) or []
    sizes = [inputs[0].shape[at] if size == 0 and not step.whole("allowzero", 0) else size for at, size in enumerate(wanted)]
    return inputs[0].reshape(sizes)


def _squeeze(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    axes = step.several("axes", 1)
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _unsqueeze(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    axes = step.several("axes", 1) or []
    rank = inputs[0].ndim + len(axes)
    found = inputs[0]
    for axis in sorted(axis % rank for axis in axes):
        found = found.unsqueeze(axis)
    return found


def _clip(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    bounds = [step.attributes.get(name) for name in ("min", "max")]
    for place in (1, 2):
        constant = step.constants[place] if place < len(step.constants) else None
        bounds[place - 1] = float(constant) if constant is not None else bounds[place - 1]
    return inputs[0].clamp(*bounds)


def _mean(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    axes = step.several("axes", 1)
    return inputs[0].mean(dim=axes if axes is not None else list(range(inputs[0].ndim)), keepdim=bool(step.whole("keepdims", 1)))


def _gelu(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    way = step.attributes.get("approximate", b"none")
    return functional.gelu(inputs[0], approximate=way.decode())


def _all_but_channels(tensor: Tensor) -> list[int]:
    return list(range(2, tensor.ndim))


OPERATORS: Mapping[str, Operator] = {
    "Abs": lambda _, inputs: inputs[0].abs(),
    "Add": lambda _, inputs: inputs[0] + inputs[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda _, inputs: inputs[0].float(),
    "Clip": _clip,
    "Concat": lambda step, inputs: torch.cat(list(inputs), dim=step.whole("axis", 0)),
    "Conv": _convolution,
    "Div": lambda _, inputs: inputs[0] / inputs[1],
    "Dropout": lambda _, inputs: inputs[0],
    "Elu": lambda step, inputs: functional.elu(inputs[0], step.number("alpha", 1.0)),
    "Erf": lambda _, inputs: torch.erf(inputs[0]),
    "Exp": lambda _, inputs: inputs[0].exp(),
    "Flatten": lambda step, inputs: inputs[0].flatten(step.whole("axis", 1)),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, inputs: inputs[0].mean(dim=_all_but_channels(inputs[0]), keepdim=True),
    "GlobalMaxPool": lambda _, inputs: inputs[0].amax(dim=_all_but_channels(inputs[0]), keepdim=True),
    "HardSigmoid": lambda step, inputs: (inputs[0] * step.number("alpha", 0.2) + step.number("beta", 0.5)).clamp(0.0, 1.0),
    "HardSwish": lambda _, inputs: inputs[0] * (inputs[0] / 6 + 0.5).clamp(0.0, 1.0),
    "Identity": lambda _, inputs: inputs[0],
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda step, inputs: functional.leaky_relu(inputs[0], step.number("alpha", 0.01)),
    "Log": lambda _, inputs: inputs[0].log(),
    "LogSoftmax": lambda step, inputs: torch.log_softmax(inputs[0], step.whole("axis", -1)),
    "MatMul": lambda _, inputs: inputs[0] @ inputs[1],
    "MaxPool": _max_pool,
    "Mul": lambda _, inputs: inputs[0] * inputs[1],
    "Neg": lambda _, inputs: -inputs[0],
    "Pow": lambda _, inputs: inputs[0] ** inputs[1],
    "ReduceMean": _mean,
    "Relu": lambda _, inputs: torch.relu(inputs[0]),
    "Reshape": _reshape,
    "Selu": lambda _, inputs: torch.selu(inputs[0]),
    "Sigmoid": lambda _, inputs: torch.sigmoid(inputs[0]),
    "Softmax": lambda step, inputs: torch.softmax(inputs[0], step.whole("axis", -1)),
    "Softplus": lambda _, inputs: functional.softplus(inputs[0]),
    "Sqrt": lambda _, inputs: inputs[0].sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda _, inputs: inputs[0] - inputs[1],
    "Tanh": lambda _, inputs: torch.tanh(inputs[0]),
    "Transpose": lambda step, inputs: inputs[0].permute(step.several("perm") or list(reversed(range(inputs[0].ndim)))),
    "Unsqueeze": _unsqueeze,
}
