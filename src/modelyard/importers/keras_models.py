"""From Keras 3 models to ONNX by Keras' own export, on its torch backend. Confined child only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.importers.graphs import finish, rename_inputs
from modelyard.importers.samples import Inputs
from modelyard.importers.versions import versions

_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError, OSError)


def convert(bench: Bench) -> Converted:
    """The part as ``model.onnx``."""
    try:
        model = keras.saving.load_model(bench.folder / bench.part.entry, compile=False, safe_mode=True)
    except _ERRORS as error:
        raise InvalidArtifact(f"Keras cannot read {bench.part.entry!r}: {' '.join(str(error).split())[:300]}") from None
    exported = bench.made / "exported.onnx"
    try:
        model.export(str(exported), format="onnx", verbose=False)
    except _ERRORS as error:
        raise Unsupported(f"The Keras model has no ONNX export: {' '.join(str(error).split())[:300]}") from None
    graph = onnx.load(exported)
    _without(exported)
    names = [_plain(item.name) for item in model.inputs]
    outputs = list(bench.part.outputs) or (["output"] if len(model.outputs) == 1 else [f"output_{at}" for at in range(len(model.outputs))])
    rename_inputs(graph, names)
    finish(graph, bench.made / "model.onnx", dict(zip(outputs, [value.name for value in graph.graph.output], strict=True)))

    def original(inputs: Inputs) -> dict[str, Array]:
        given = [np.array(inputs[name]) for name in names]
        found = model(given[0] if len(given) == 1 else given, training=False)
        many: list[Any] = list(found) if isinstance(found, list | tuple) else [found]
        return {name: keras.ops.convert_to_numpy(item) for name, item in zip(outputs, many, strict=True)}

    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"Keras {keras.__version__} export",
        original=original,
        missing=False,
        environment=versions("keras", "torch", "onnxscript"),
    )


def _plain(name: str) -> str:
    return name.partition(":")[0].replace("/", "_")


def _without(exported: Path) -> None:
    for path in exported.parent.glob("exported.onnx*"):
        path.unlink()
