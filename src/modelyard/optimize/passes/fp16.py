"""Half precision: floats of 16 bits inside, the same inputs and outputs outside."""

from __future__ import annotations

from typing import ClassVar

from onnx import ModelProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from modelyard.optimize.base import Work, check_no_argument
from modelyard.optimize.weights import why_no_weights


class Half:
    exact: ClassVar[bool] = False

    def supports(self, work: Work) -> str:
        return why_no_weights(work.model)

    def run(self, work: Work) -> ModelProto:
        copy = ModelProto()
        copy.CopyFrom(work.model)  # the converter changes what it is given
        made = OnnxModel(convert_float_to_float16(copy, keep_io_types=True))
        made.topological_sort()  # it puts the casts of the inputs last
        found: ModelProto = made.model
        return found


def read(argument: str) -> Half:
    check_no_argument("fp16", argument)
    return Half()
