"""Weights of 4 bits in blocks with a scale each, by ONNX Runtime; what flows through the graph stays floating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnx import ModelProto
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from modelyard.core.errors import InvalidRequest
from modelyard.optimize.base import Work
from modelyard.optimize.weights import why_no_weights

_BLOCKS = (16, 32, 64, 128, 256)
_BLOCK = 32
_INT8_SUMS = 4
"""The library's level of accuracy at which products are summed as whole numbers: the fastest on processors."""


@dataclass(frozen=True)
class Int4:
    exact: ClassVar[bool] = False
    block: int

    def supports(self, work: Work) -> str:
        if reason := why_no_weights(work.model):
            return reason
        constants = {tensor.name: list(tensor.dims) for tensor in work.model.graph.initializer}
        if not any(_takes(node.op_type, constants.get(node.input[1], ())) for node in work.model.graph.node if len(node.input) > 1):
            return "only matrix products (MatMul) with constant weights can have weights of 4 bits, and it has none"
        return ""

    def run(self, work: Work) -> ModelProto:
        copy = ModelProto()
        copy.CopyFrom(work.model)  # the quantizer changes what it is given
        quantizer = MatMulNBitsQuantizer(copy, bits=4, block_size=self.block, is_symmetric=True, accuracy_level=_INT8_SUMS)
        quantizer.process()
        found: ModelProto = quantizer.model.model
        return found


def _takes(kind: str, dims: object) -> bool:
    return kind == "MatMul" and isinstance(dims, list) and len(dims) == 2


def read(argument: str) -> Int4:
    if argument and (not argument.isdigit() or int(argument) not in _BLOCKS):
        known = ", ".join(map(str, _BLOCKS))
        raise InvalidRequest(f"The pass 'int4' has blocks of {known} weights, like int4:64; it got {argument!r}.")
    return Int4(int(argument) if argument else _BLOCK)
