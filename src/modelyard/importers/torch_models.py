"""From PyTorch programs to ONNX by the dynamo exporter, with rows (and whatever else varies) left open. Confined child only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.signature import Signature, TensorSpec
from modelyard.importers.base import Bench, Converted, Original
from modelyard.importers.graphs import name_sizes
from modelyard.importers.samples import made_up
from modelyard.runtimes.original import declared
from modelyard.runtimes.originals.torch_programs import calling, open_exported, open_program, tensors_of
from modelyard.runtimes.versions import versions

_EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)
_ROWS = 3
"""Of the example that is traced: neither 0 nor 1, which tracing would take for constants."""


def convert(bench: Bench) -> Converted:
    """The part as ``model.onnx``."""
    kind = bench.part.options["kind"]
    if kind == "exported":
        return _from_program(bench, open_exported(bench.folder / bench.part.entry))
    return _from_module(bench, _opened(bench), dynamo=kind == "module")


def original(bench: Bench) -> Original:
    """The program itself."""
    kind, weights = bench.part.options["kind"], bench.part.options.get("weights", "")
    if kind == "exported":
        program = open_exported(bench.folder / bench.part.entry)
        example = _example(program)
        inputs = tuple(_spec(name, tensor) for name, tensor in zip(program.graph_signature.user_inputs, example, strict=True))
        outputs = _names(bench, tensors_of(program.module()(*example)))
    else:
        inputs = _specs(bench)
        outputs = _names(bench, _run(_opened(bench), _tensors(inputs)))
    return Original(
        library="torch",
        files=(bench.part.entry, *([weights] if weights else [])),
        inputs=inputs,
        names=tuple(outputs),
        options={"kind": kind, "weights": weights},
        environment=versions("torch", "safetensors"),
    )


def _opened(bench: Bench) -> Any:
    options = bench.part.options
    return open_program(bench.folder / bench.part.entry, options["kind"], bench.folder / options.get("weights", ""))


def export(module: Any, example: dict[str, Any], path: Path, outputs: Sequence[str], *, dynamo: bool, varying: Any) -> None:
    """Writes the graph of a module called with the example's tensors by position.

    Raises Unsupported with the exporter's reason.
    """
    try:
        if dynamo:
            program: Any = torch.onnx.export(
                module,
                tuple(example.values()),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=tuple(varying),
                dynamo=True,
                verbose=False,
            )
            program.save(str(path), external_data=False)
        else:
            axes = {name: {at: f"{name}_{at}" for at in sizes} for name, sizes in zip(example, varying, strict=True)}
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(path),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes=axes | {name: {0: "rows"} for name in outputs},
                dynamo=False,
            )
    except _EXPORT_ERRORS as error:
        raise _no_export(error) from None
    name_sizes(path)


def _no_export(error: Exception) -> Unsupported:
    """The exporter's reason: the innermost one, without the graph that it prints."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Unsupported(f"The PyTorch model has no exact ONNX export: {said[:300]}")


def _from_program(bench: Bench, program: Any) -> Converted:
    module = program.module()
    example = _example(program)
    names = list(program.graph_signature.user_inputs)
    outputs = _names(bench, tensors_of(module(*example)))
    path = bench.made / "model.onnx"
    try:
        made: Any = torch.onnx.export(program, input_names=names, output_names=outputs, dynamo=True, verbose=False)
        made.save(str(path), external_data=False)
    except _EXPORT_ERRORS as error:
        raise _no_export(error) from None
    name_sizes(path)
    return _converted(module, names, outputs, "dynamo exporter")


def _example(program: Any) -> tuple[Any, ...]:
    example: tuple[Any, ...] = program.example_inputs[0] if program.example_inputs else ()
    if not example or not all(isinstance(item, torch.Tensor) for item in example):
        raise Unsupported(
            "The archive keeps no example inputs, or not tensors only; export it again with torch.export.export(module, (x,))."
        )
    return example


def _from_module(bench: Bench, module: Any, *, dynamo: bool) -> Converted:
    specs = _specs(bench)
    example = _tensors(specs)
    outputs = _names(bench, _run(module, example))
    open_sizes = [[at for at, size in enumerate(spec.wire_shape) if size == -1] for spec in specs]
    varying = [dict.fromkeys(sizes, torch.export.Dim.DYNAMIC) for sizes in open_sizes] if dynamo else open_sizes
    export(module, example, bench.made / "model.onnx", outputs, dynamo=dynamo, varying=varying)
    return _converted(module, list(example), outputs, "dynamo exporter" if dynamo else "TorchScript exporter")


def _specs(bench: Bench) -> tuple[TensorSpec, ...]:
    specs = bench.part.signature or (bench.sample.specs() if bench.sample else ())
    if not specs:
        raise InvalidArtifact(
            "The file does not say what the model takes; say it with --signature 'x:FP32[-1,4]' or a --sample of tensors."
        )
    return specs


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    inputs = made_up(Signature(inputs=specs, outputs=(_row(specs[0]),)), {}, rows=_ROWS)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}


def _run(module: Any, example: dict[str, Any]) -> tuple[Any, ...]:
    try:
        with torch.no_grad():
            return tensors_of(module(*example.values()))
    except _EXPORT_ERRORS as error:
        raise InvalidArtifact(f"The model cannot run on inputs of the signature: {' '.join(str(error).split())[:300]}") from None


def _row(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name="output", datatype=spec.datatype, shape=(-1,))


def _spec(name: str, tensor: Any) -> TensorSpec:
    """Of an example: rows are left open."""
    return declared(name, tensor.numpy(), rows=True)


def _converted(module: Callable[..., Any], names: list[str], outputs: list[str], exporter: str) -> Converted:
    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"PyTorch {torch.__version__}, {exporter}",
        original=calling(module, names, outputs),
        missing=False,
        environment=versions("torch", "onnxscript", "safetensors"),
    )


def _names(bench: Bench, found: tuple[Any, ...]) -> list[str]:
    said = list(bench.part.outputs)
    if said and len(said) != len(found):
        raise InvalidArtifact(f"The model gives {len(found)} tensors, but {len(said)} outputs are named.")
    return said or (["output"] if len(found) == 1 else [f"output_{at}" for at in range(len(found))])
