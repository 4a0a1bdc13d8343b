"""From TensorFlow SavedModels to ONNX by tf2onnx. Confined child only."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import tensorflow as tf
import tf2onnx.convert

from modelyard.core.errors import Unsupported
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.importers.base import Bench, Converted, Original
from modelyard.importers.graphs import finish, name_sizes, rename_inputs
from modelyard.runtimes.originals.saved_models import calling, open_saved_model
from modelyard.runtimes.versions import versions

_OPSET = 18
_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError, tf.errors.OpError)
_LIBRARIES = ("tensorflow-cpu", "tensorflow", "tf2onnx")


def convert(bench: Bench) -> Converted:
    """The part's serving signature as ``model.onnx``."""
    function = open_saved_model(bench.folder)
    given, outputs = _inputs(function), _outputs(function)
    names = list(given)

    @tf.function(input_signature=list(given.values()), autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def positional(*tensors: Any) -> Any:
        found = function(**dict(zip(names, tensors, strict=True)))
        return [found[name] for name in outputs]

    try:
        graph, _ = tf2onnx.convert.from_function(positional, input_signature=list(given.values()), opset=_OPSET)
    except _ERRORS as error:
        raise Unsupported(f"The SavedModel has no exact ONNX conversion: {' '.join(str(error).split())[:300]}") from None
    rename_inputs(graph, names)
    finish(graph, bench.made / "model.onnx", dict(zip(outputs, [value.name for value in graph.graph.output], strict=True)))
    name_sizes(bench.made / "model.onnx")
    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"tf2onnx {tf2onnx.__version__}",
        original=calling(function, names, outputs),
        missing=False,
        environment=versions(*_LIBRARIES),
    )


def original(bench: Bench) -> Original:
    """The SavedModel itself."""
    function = open_saved_model(bench.folder)
    return Original(
        library="tensorflow",
        files=(),
        inputs=tuple(_spec(name, spec) for name, spec in _inputs(function).items()),
        names=tuple(_outputs(function)),
        whole=True,
        environment=versions(*_LIBRARIES),
    )


def _inputs(function: Any) -> dict[str, Any]:
    """By name, in the order of names: TensorFlow keeps no other."""
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in sorted(function.structured_input_signature[1].items())}


def _outputs(function: Any) -> list[str]:
    return sorted(function.structured_outputs)


def _spec(name: str, spec: Any) -> TensorSpec:
    kind = (
        Datatype.BYTES if spec.dtype == tf.string else next((Datatype(k) for k, d in NUMPY.items() if d == spec.dtype.as_numpy_dtype), None)
    )
    if kind is None or spec.shape.rank is None:
        raise Unsupported(f"The input {name!r} is {spec.dtype.name} of shape {spec.shape}, which no protocol carries.")
    return TensorSpec(name=name, datatype=kind, shape=tuple(-1 if size is None else int(size) for size in spec.shape))
