"""Quantization to whole numbers of 8 bits by ONNX Runtime: static with calibration (QDQ), or dynamic."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType, create_calibrator, quantize_dynamic

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.tensors import Array
from modelyard.optimize.base import Calibration, Work
from modelyard.optimize.sensitive import leave_out_sensitive
from modelyard.optimize.weights import why_no_weights

_RANGES = {"static": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
"""How static quantization finds the range of what flows between layers: all of it, or 99.999 % of it. (The library's search by entropy has
as many bins as steps, so it finds all of it too.)"""
_WAYS = ("auto", *_RANGES, "dynamic")
_OLDEST_OPSET = 13  # the first whose QuantizeLinear has a scale a channel
_BATCH = 64
_STATIC = ["MatMul", "Gemm", "Conv"]
_PRECISE = {"per_channel": True, "reduce_range": True}
"""Seven bits of range, a scale a channel: what stays exact where 16-bit sums would saturate (AVX2)."""
_WEIGHTS = {**_PRECISE, "weight_type": QuantType.QInt8}


class _Rows(CalibrationDataReader):  # type: ignore[misc] # the library has no types
    """Calibration rows in batches."""

    def __init__(self, calibration: Calibration) -> None:
        self._batches = self._cut(calibration)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(calibration: Calibration) -> Iterator[Mapping[str, Array]]:
        count = -(-calibration.rows // _BATCH)
        size = calibration.rows // count if count else 0
        for at in range(count):  # equal batches, because the library stacks them; the few rows that are left over are not needed
            yield {name: array[at * size : (at + 1) * size] for name, array in calibration.inputs.items()}


@dataclass(frozen=True)
class Int8:
    exact: ClassVar[bool] = False
    way: str

    def supports(self, work: Work) -> str:
        model = work.model
        if reason := why_no_weights(model):
            return reason
        opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
        if opset < _OLDEST_OPSET:
            return f"its operators are of opset {opset}, and scales per channel need {_OLDEST_OPSET}; export it with a newer opset"
        if self._static(work):
            return (
                ""
                if work.calibration
                else "static quantization needs training rows to calibrate on, and the version's data set is not known"
            )
        if all(node.op_type not in {"MatMul", "Gemm"} for node in model.graph.node):
            return "convolutions are never quantized dynamically (that makes them slower), and there is no data set to calibrate on"
        return ""

    def run(self, work: Work) -> ModelProto:
        copy = _named(_with_flat_biases(onnx.shape_inference.infer_shapes(work.model)))
        if not self._static(work) or work.calibration is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "quantized.onnx"
                quantize_dynamic(copy, path, op_types_to_quantize=["MatMul", "Gemm"], **_WEIGHTS)
                return onnx.load(path)
        ranges = self._ranges(copy, work.calibration)

        def quantize(names: Sequence[str]) -> ModelProto:
            own = ModelProto()
            own.CopyFrom(copy)  # the quantizer changes what it is given
            chosen = {"activation_qType": QuantType.QUInt8, "nodes_to_quantize": list(names), "nodes_to_exclude": []}
            more: dict[str, Any] = {"op_types_to_quantize": _STATIC, "extra_options": {}, "tensors_range": ranges}
            quantizer = QDQQuantizer(own, weight_qType=_WEIGHTS["weight_type"], **_PRECISE, **chosen, **more)
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            made: ModelProto = quantizer.model.model
            return made

        nodes = [node for node in copy.graph.node if node.op_type in _STATIC]
        found = leave_out_sensitive(work.model, nodes, quantize, work.calibration, work.tolerance)
        work.notes["int8"] = found.notes
        return found.model

    def _ranges(self, model: ModelProto, calibration: Calibration) -> Any:
        """What flows between layers, by tensor."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save_model(model, path)
            method = _RANGES.get(self.way, CalibrationMethod.MinMax)
            seen = str(Path(folder) / "augmented.onnx")
            calibrator = create_calibrator(path, _STATIC, augmented_model_path=seen, calibrate_method=method)
            calibrator.collect_data(_Rows(calibration))
            return calibrator.compute_data()

    def _static(self, work: Work) -> bool:
        return self.way in _RANGES or (self.way == "auto" and work.calibration is not None)


def _named(model: ModelProto) -> ModelProto:
    """Every node has a name of its own, by which it can be left out. Changes the model given."""
    taken = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for at, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{at}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)
    return model


def _with_flat_biases(model: ModelProto) -> ModelProto:
    """The library takes a Gemm's bias for ``[N]``; ``[1, N]`` means the same. Changes the model given."""
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Gemm" and len(node.input) > 2}
    others = {name for node in model.graph.node for at, name in enumerate(node.input) if node.op_type != "Gemm" or at != 2}
    for tensor in model.graph.initializer:
        if tensor.name in biases - others and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    return model


def read(argument: str) -> Int8:
    way = argument or "auto"
    if way not in _WAYS:
        raise InvalidRequest(f"The pass 'int8' is {', '.join(_WAYS)}, not {argument!r}.{did_you_mean(argument, _WAYS)}")
    return Int8(way)
