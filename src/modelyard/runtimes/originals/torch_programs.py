"""PyTorch programs: ``torch.export`` archives, TorchScript, and a module's Python file with its weights."""

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
from modelyard.core.tensors import Array
from modelyard.runtimes.original import Predict, Settings

_WRITTEN = "modelyard_brought_module"


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``. Options: ``kind`` and ``weights`` of ``open_program``."""
    options, signature = settings.options, settings.signature
    program = open_program(folder / settings.entry, options["kind"], folder / options.get("weights", ""))
    return calling(program, [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs])


def calling(program: Callable[..., Any], names: Sequence[str], outputs: Sequence[str]) -> Predict:
    """A function of named arrays that calls a program with tensors by position."""

    def call(inputs: dict[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            found = tensors_of(program(*(torch.from_numpy(np.array(inputs[name])) for name in names)))
        return {name: tensor.detach().numpy() for name, tensor in zip(outputs, found, strict=True)}

    return call


def tensors_of(found: Any) -> tuple[Any, ...]:
    """What a program gave, in order.

    Raises Unsupported when that is something else than tensors.
    """
    many = tuple(found.values()) if isinstance(found, dict) else tuple(found) if isinstance(found, list | tuple) else (found,)
    if not many or not all(isinstance(item, torch.Tensor) for item in many):
        raise Unsupported("The model gives something else than tensors; wrap it in a module that gives tensors.")
    return many


def open_program(path: Path, kind: str, weights: Path) -> Any:
    """A callable: ``kind`` is ``exported``, ``script`` or ``module``, whose weights are in a file of their own.

    Raises InvalidArtifact.
    """
    torch.set_num_threads(1)
    if kind == "module":
        return _module(path, weights)
    return open_exported(path).module() if kind == "exported" else _opened(torch.jit.load, path).eval()


def open_exported(path: Path) -> Any:
    """The program in an archive of ``torch.export``.

    Raises InvalidArtifact.
    """
    return _opened(torch.export.load, path)


def _opened(load: Callable[..., Any], path: Path) -> Any:
    try:
        return load(str(path))
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, AttributeError, pickle.UnpicklingError) as error:
        raise InvalidArtifact(f"PyTorch cannot read {path.name!r}: {' '.join(str(error).split())[:200]}") from None


def _module(code: Path, weights: Path) -> Any:
    """The last module that the file defines, made without arguments, with its weights."""
    defined = [
        item
        for item in vars(_imported(code)).values()
        if isinstance(item, type) and issubclass(item, torch.nn.Module) and item.__module__ == _WRITTEN
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
    found = importlib.util.spec_from_file_location(_WRITTEN, path)
    if found is None or found.loader is None:
        raise InvalidArtifact(f"{path.name!r} is no Python file.")
    module = importlib.util.module_from_spec(found)
    sys.modules[_WRITTEN] = module
    try:
        found.loader.exec_module(module)
    except SyntaxError as error:
        raise InvalidArtifact(f"{path.name!r} is no Python that can be read: {error.msg}, line {error.lineno}.") from None
    return module
