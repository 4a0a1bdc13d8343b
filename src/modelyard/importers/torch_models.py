"""From PyTorch programs to ONNX by the dynamo exporter, with rows (and whatever else varies) left open. Confined child only."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.importers.samples import Inputs, made_up
from modelyard.importers.versions import versions

_EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)
_ROWS = 3
"""Of the example that is traced: neither 0 nor 1, which tracing would take for constants."""


def convert(bench: Bench) -> Converted:
    """The part as ``model.onnx``."""
    torch.set_num_threads(1)
    kind = bench.part.options["kind"]
    path = bench.folder / bench.part.entry
    if kind == "exported":
        return _from_program(bench, _opened(torch.export.load, path))
    if kind == "script":
        return _from_module(bench, _opened(torch.jit.load, path).eval(), dynamo=False)
    return _from_module(bench, _module(path, bench.folder / bench.part.options["weights"]), dynamo=True)


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
            axes = {name: dict.fromkeys(open_sizes, f"{name}_size") for name, open_sizes in zip(example, varying, strict=True)}
            axes = {name: {at: ("rows" if at == 0 else f"{name}_{at}") for at in sizes} for name, sizes in axes.items()}
            axes |= {name: {0: "rows"} for name in outputs}
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(path),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes=axes,
                dynamo=False,
            )
    except _EXPORT_ERRORS as error:
        raise Unsupported(f"The PyTorch model has no ONNX export: {' '.join(str(error).split())[:300]}") from None


def _from_program(bench: Bench, program: Any) -> Converted:
    module = program.module()
    example = program.example_inputs[0] if program.example_inputs else ()
    if not example or not all(isinstance(item, torch.Tensor) for item in example):
        raise Unsupported(
            "The archive keeps no example inputs, or not tensors only; export it again with torch.export.export(module, (x,))."
        )
    names = list(program.graph_signature.user_inputs)
    outputs = _names(bench, _tuple(module(*example)))
    try:
        made: Any = torch.onnx.export(program, input_names=names, output_names=outputs, dynamo=True, verbose=False)
        made.save(str(bench.made / "model.onnx"), external_data=False)
    except _EXPORT_ERRORS as error:
        raise Unsupported(f"The PyTorch model has no ONNX export: {' '.join(str(error).split())[:300]}") from None
    return _converted(module, names, outputs, "dynamo exporter")


def _from_module(bench: Bench, module: Any, *, dynamo: bool) -> Converted:
    specs = bench.part.signature or (bench.sample.specs() if bench.sample else ())
    if not specs:
        raise Unsupported("The file does not say what the model takes; say it with --signature 'x:FP32[-1,4]' or a --sample of tensors.")
    inputs = made_up(Signature(inputs=specs, outputs=(_row(specs[0]),)), {}, rows=_ROWS)
    example = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
    try:
        outputs = _names(bench, _tuple(module(*example.values())))
    except _EXPORT_ERRORS as error:
        raise InvalidArtifact(f"The model cannot run on inputs of the signature: {' '.join(str(error).split())[:300]}") from None
    open_sizes = [[at for at, size in enumerate(spec.wire_shape) if size == -1] for spec in specs]
    varying = [dict.fromkeys(sizes, torch.export.Dim.AUTO) for sizes in open_sizes] if dynamo else open_sizes
    export(module, example, bench.made / "model.onnx", outputs, dynamo=dynamo, varying=varying)
    return _converted(module, list(example), outputs, "dynamo exporter" if dynamo else "TorchScript exporter")


def _row(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name="output", datatype=spec.datatype, shape=(-1,))


def _converted(module: Callable[..., Any], names: list[str], outputs: list[str], exporter: str) -> Converted:
    def original(inputs: Inputs) -> dict[str, Array]:
        with torch.no_grad():
            found = _tuple(module(*(torch.from_numpy(np.array(inputs[name])) for name in names)))
        return {name: tensor.detach().numpy() for name, tensor in zip(outputs, found, strict=True)}

    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"PyTorch {torch.__version__}, {exporter}",
        original=original,
        missing=False,
        environment=versions("torch", "onnxscript", "safetensors"),
    )


def _tuple(found: Any) -> tuple[Any, ...]:
    many = tuple(found.values()) if isinstance(found, dict) else tuple(found) if isinstance(found, list | tuple) else (found,)
    if not many or not all(isinstance(item, torch.Tensor) for item in many):
        raise Unsupported("The model gives something else than tensors; wrap it in a module that gives tensors.")
    return many


def _names(bench: Bench, found: tuple[Any, ...]) -> list[str]:
    said = list(bench.part.outputs)
    if said and len(said) != len(found):
        raise InvalidArtifact(f"The model gives {len(found)} tensors, but {len(said)} outputs are named.")
    return said or (["output"] if len(found) == 1 else [f"output_{at}" for at in range(len(found))])


def _opened(load: Callable[..., Any], path: Path) -> Any:
    try:
        return load(str(path))
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, AttributeError, pickle.UnpicklingError) as error:
        raise InvalidArtifact(f"PyTorch cannot read {path.name!r}: {' '.join(str(error).split())[:200]}") from None


def _module(code: Path, weights: Path) -> Any:
    """The only module that the file defines, made without arguments, with its weights."""
    defined = [
        item
        for item in vars(_imported(code)).values()
        if isinstance(item, type) and issubclass(item, torch.nn.Module) and item.__module__ == "brought"
    ]
    last = defined[-1:]
    if not last:
        raise InvalidArtifact(f"{code.name!r} defines no torch.nn.Module.")
    try:
        made = last[0]()
        made.load_state_dict(load_file(str(weights)))
    except (TypeError, RuntimeError) as error:
        raise InvalidArtifact(
            f"{last[0].__name__} of {code.name!r} cannot be made without arguments, or its weights do not fit: "
            f"{' '.join(str(error).split())[:300]}"
        ) from None
    return made.eval()


def _imported(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location("brought", path)
    if found is None or found.loader is None:
        raise InvalidArtifact(f"{path.name!r} is no Python file.")
    module = importlib.util.module_from_spec(found)
    sys.modules["brought"] = module
    found.loader.exec_module(module)
    return module
