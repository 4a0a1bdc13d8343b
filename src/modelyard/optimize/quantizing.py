"""Static quantization to 8 bits by ONNX Runtime's library, in every variant that it has: one calibration serves them all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType, create_calibrator
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from modelyard.core.tensors import Array
from modelyard.optimize.ahead import Target, optimized
from modelyard.optimize.base import Calibration

RANGES: Mapping[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "static": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {}),
    # As many bins as steps, the library's default, would always find the whole range.
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 512, "num_quantized_bins": 128}),
}
"""How the range of what flows between layers is found: all of it, 99.999 % of it, or the one that keeps most of what its values tell."""
PRODUCTS = ("MatMul", "Gemm", "Conv")
_QDQ, _QOPERATOR = "QDQ", "QOperator"
_KNOWN = {_QDQ: frozenset(QDQRegistry) | frozenset(QLinearOpsRegistry), _QOPERATOR: frozenset(QLinearOpsRegistry)}
_EVERYTHING = sorted(_KNOWN[_QDQ])
_BATCH = 128


@dataclass(frozen=True)
class Variant:
    """One way in which a graph can say that it computes with whole numbers.

    Weights keep to seven bits in all of them: that costs no time, and stays exact where sums of 16 bits would saturate (AVX2).
    """

    form: str
    """QDQ: floats between pairs of operators that quantize, which the runtime fuses as it loads; QOperator: those that it fuses to."""
    per_channel: bool
    """A scale for each output of a layer, instead of one for all."""
    everything: bool
    """All operators that the library knows, instead of matrix products and convolutions."""

    @property
    def title(self) -> str:
        scales = "a scale a channel" if self.per_channel else "a scale a layer"
        return f"{self.form}, {scales}, {'all operators' if self.everything else 'products'}"


VARIANTS = tuple(
    Variant(form, per_channel, everything) for everything in (False, True) for form in (_QDQ, _QOPERATOR) for per_channel in (True, False)
)
"""The most careful comes first."""


class Quantizer:
    """A graph, prepared, with the ranges of what flows through it."""

    def __init__(self, model: ModelProto, calibration: Calibration, ranges: str) -> None:
        self._model = prepared(model)
        self._ranges = _ranges(self._model, calibration, ranges)

    def nodes(self, variant: Variant) -> list[NodeProto]:
        """Those that a variant can quantize."""
        kinds = _KNOWN[variant.form] if variant.everything else PRODUCTS
        return [node for node in self._model.graph.node if node.op_type in kinds]

    def quantize(self, variant: Variant, names: Sequence[str]) -> ModelProto:
        """With these nodes quantized and no others."""
        own = ModelProto()
        own.CopyFrom(self._model)  # the quantizer changes what it is given
        if variant.form == _QDQ:
            quantizer = QDQQuantizer(own, variant.per_channel, **_options(names, self._ranges))
        else:
            mode = {"mode": QuantizationMode.QLinearOps, "static": True}
            quantizer = ONNXQuantizer(own, variant.per_channel, **mode, **_options(names, self._ranges))
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        made: ModelProto = quantizer.model.model
        return made


def _options(names: Sequence[str], ranges: Any) -> dict[str, Any]:
    return {
        "reduce_range": True,
        "weight_qType": QuantType.QInt8,
        "activation_qType": QuantType.QUInt8,
        "tensors_range": ranges,
        "nodes_to_quantize": list(names),
        "nodes_to_exclude": [],
        "op_types_to_quantize": _EVERYTHING,
        "extra_options": {},
    }


def prepared(model: ModelProto) -> ModelProto:
    """As the library asks for: constants folded, what belongs together fused, shapes known, every node with a name of its own."""
    return _named(_with_flat_biases(onnx.shape_inference.infer_shapes(optimized(model, Target.ANYTHING))))


def _ranges(model: ModelProto, calibration: Calibration, method: str) -> Any:
    """What flows between layers, by tensor.

    Rows come batch after batch, so that memory holds the tensors of one. The search by entropy has one batch only: the library grows a
    histogram by bins where a later batch has larger values, and searches all of them again for each.
    """
    chosen, options = RANGES[method]
    inputs = calibration.inputs
    if method == "entropy":
        rows = np.unique(np.linspace(0, calibration.rows - 1, _BATCH).astype(int))
        inputs = {name: array[rows] for name, array in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, path)
        seen = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, _EVERYTHING, augmented_model_path=seen, calibrate_method=chosen, extra_options=options)
        for start in range(0, min(len(array) for array in inputs.values()), _BATCH):
            calibrator.collect_data(_Batch({name: array[start : start + _BATCH] for name, array in inputs.items()}))
        return calibrator.compute_data()


class _Batch(CalibrationDataReader):  # type: ignore[misc] # the library has no types
    """One batch of calibration rows."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self._left = [inputs]

    def get_next(self) -> Mapping[str, Array] | None:
        return self._left.pop() if self._left else None


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
