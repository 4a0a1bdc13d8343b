"""Quantization to whole numbers of 8 bits by ONNX Runtime: static with calibration, in the variant that is fastest here, or dynamic."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
from onnx import ModelProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.optimize.base import Calibration, Work
from modelyard.optimize.fastest import processor_seconds
from modelyard.optimize.quantizing import RANGES, VARIANTS, Quantizer, prepared
from modelyard.optimize.sensitive import leave_out_sensitive
from modelyard.optimize.variants import Quantized, Trials
from modelyard.optimize.weights import why_no_weights

_WAYS = ("auto", *RANGES, "dynamic")
_OLDEST_OPSET = 13  # the first whose QuantizeLinear has a scale a channel
_MOST_FOR_SPEED = 0.05
"""What a variant may lose, however much is tolerated: whoever tolerates everything, for want of labels, does not ask for the worst."""
_AS_FAST = 1.02
"""Of variants whose times differ by no more, the one that loses the least is chosen."""


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
        if not self._static(work) or work.calibration is None:
            return _dynamic(work.model)
        quantizer = Quantizer(work.model, work.calibration, self.way if self.way in RANGES else "static")
        made, work.notes["int8"] = _static(work, work.calibration, quantizer)
        return made

    def _static(self, work: Work) -> bool:
        return self.way in RANGES or (self.way == "auto" and work.calibration is not None)


def _dynamic(model: ModelProto) -> ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        precise = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
        quantize_dynamic(prepared(model), path, op_types_to_quantize=["MatMul", "Gemm"], **precise)
        return onnx.load(path)


def _static(work: Work, calibration: Calibration, quantizer: Quantizer) -> tuple[ModelProto, dict[str, Any]]:
    """The fastest variant that loses no more than the tolerance; where all lose more, sensitive layers are left out of it."""
    careful = VARIANTS[0]
    found = leave_out_sensitive(
        work.model, quantizer.nodes(careful), lambda names: quantizer.quantize(careful, names), calibration, work.tolerance
    )
    lost = found.notes["loss_on_training_rows"]
    ready = {careful.title: Quantized(found.model, lost)}
    trials = Trials(work.model, calibration, quantizer, max(min(work.tolerance, _MOST_FOR_SPEED), lost))
    for variant in VARIANTS[1:]:
        ready |= trials.of(variant, {entry["node"] for entry in found.notes["left_out"]})
    seconds = processor_seconds({title: entry.model for title, entry in ready.items()}, calibration.inputs)
    near = [title for title in ready if seconds[title] <= min(seconds.values()) * _AS_FAST]
    chosen = min(near, key=lambda title: ready[title].loss)
    measured = [
        {"variant": title, "microseconds": seconds[title] * 1e6, "loss_on_training_rows": ready[title].loss}
        for title in sorted(ready, key=lambda title: seconds[title])
    ]
    notes = {"variant": chosen, "variants": measured, "refused_variants": trials.refused}
    return ready[chosen].model, found.notes | notes | {"loss_on_training_rows": ready[chosen].loss}


def read(argument: str) -> Int8:
    way = argument or "auto"
    if way not in _WAYS:
        raise InvalidRequest(f"The pass 'int8' is {', '.join(_WAYS)}, not {argument!r}.{did_you_mean(argument, _WAYS)}")
    return Int8(way)
