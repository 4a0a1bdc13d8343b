"""From Keras 3 models to ONNX by Keras' own export, on its torch backend. Confined child only."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from modelyard.core.errors import Unsupported
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.importers.base import Bench, Converted, Original
from modelyard.importers.graphs import finish, name_sizes, rename_inputs
from modelyard.importers.samples import made_up
from modelyard.runtimes.originals.keras_models import ERRORS, calling, open_keras
from modelyard.runtimes.versions import versions

_ROWS = 3


def convert(bench: Bench) -> Converted:
    """The part as ``model.onnx``."""
    model = open_keras(bench.folder / bench.part.entry)
    exported = bench.made / "exported.onnx"
    names, outputs, specs = _input_names(model), _output_names(bench, model), _inputs(model)
    predict = calling(model, names, outputs)
    try:
        predict(made_up(Signature(inputs=specs, outputs=specs), {}, rows=_ROWS))  # it exports only what was called
        model.export(str(exported), format="onnx", verbose=False)
    except ERRORS as error:
        raise Unsupported(f"The Keras model has no exact ONNX export: {' '.join(str(error).split())[:300]}") from None
    graph = onnx.load(exported)
    _without(exported)
    rename_inputs(graph, names)
    finish(graph, bench.made / "model.onnx", dict(zip(outputs, [value.name for value in graph.graph.output], strict=True)))
    name_sizes(bench.made / "model.onnx")
    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"Keras {version('keras')} export",
        original=predict,
        missing=False,
        environment=versions("keras", "torch", "onnxscript"),
    )


def original(bench: Bench) -> Original:
    """The model itself."""
    model = open_keras(bench.folder / bench.part.entry)
    return Original(
        library="keras",
        files=(bench.part.entry,),
        inputs=_inputs(model),
        names=tuple(_output_names(bench, model)),
        environment=versions("keras", "torch"),
    )


def _input_names(model: Any) -> list[str]:
    return [_plain(item.name) for item in model.inputs]


def _inputs(model: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, datatype=_datatype(item), shape=tuple(-1 if size is None else int(size) for size in item.shape))
        for name, item in zip(_input_names(model), model.inputs, strict=True)
    )


def _output_names(bench: Bench, model: Any) -> list[str]:
    count = len(model.outputs)
    return list(bench.part.outputs) or (["output"] if count == 1 else [f"output_{at}" for at in range(count)])


def _datatype(item: Any) -> Datatype:
    kind = next((Datatype(kind) for kind, dtype in NUMPY.items() if dtype.name == str(item.dtype)), None)
    if kind is None:
        raise Unsupported(f"The model takes {item.dtype}, which no protocol carries.")
    return kind


def _plain(name: str) -> str:
    return name.partition(":")[0].replace("/", "_")


def _without(exported: Path) -> None:
    for path in exported.parent.glob("exported.onnx*"):
        path.unlink()
