"""A model in memory as files that can be pushed: in its library's own format, the one that can hold no code where there is one.

Libraries are never imported for their own sake: a model of one has loaded it. Nothing is converted here; the platform does that in
confinement, and proves and measures it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidRequest, Unsupported

_MANY = "input"
_KNOWN = "ONNX, scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch, Keras and Hugging Face"


@dataclass(frozen=True, slots=True)
class Saved:
    """Files of a model, and of a sample of what it takes."""

    path: Path
    sample: Path | None


def save_model(model: Any, sample: Any, folder: Path) -> Saved:
    """Writes a model and a sample (a data frame, an array, or arrays by name) to a folder.

    Raises Unsupported for what no known library made, InvalidRequest for a sample that cannot be used.
    """
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if isinstance(model, tuple) or "transformers" in roots:
        return Saved(_save_transformers(model, folder / "encoder"), _save_sample(sample, folder, ()))
    if "keras" in roots:
        return Saved(_written(folder / "model.keras", model.save), _save_sample(sample, folder, ()))
    if "torch" in roots:
        return _save_torch(model, sample, folder)
    written = _save_plain(model, roots, folder)
    return Saved(written, _save_sample(sample, folder, ()))


def _save_plain(model: Any, roots: set[str], folder: Path) -> Path:
    if "onnx" in roots:
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path
    if "xgboost" in roots:
        return _written(folder / "model.ubj", model.save_model)
    if "lightgbm" in roots:
        return _written(folder / "model.txt", getattr(model, "booster_", model).save_model)
    if "catboost" in roots:
        return _written(folder / "model.cbm", model.save_model)
    if "sklearn" in roots:
        return _save_estimator(model, folder)
    raise Unsupported(
        f"A {type(model).__name__} is of no library that is known ({_KNOWN}); save it and push its file, or push a Python class."
    )


def _written(path: Path, save: Any) -> Path:
    save(str(path))
    return path


def _save_estimator(model: Any, folder: Path) -> Path:
    """As skops, which holds no code, where it is installed."""
    try:
        skops = import_module("skops.io")
    except ModuleNotFoundError:
        import_module("joblib").dump(model, folder / "model.joblib")
        return folder / "model.joblib"
    skops.dump(model, folder / "model.skops")
    return folder / "model.skops"


def _save_transformers(model: Any, folder: Path) -> Path:
    """A pipeline, or a model and its tokenizer."""
    parts = model if isinstance(model, tuple) else (getattr(model, "model", model), getattr(model, "tokenizer", None))
    if len(parts) != 2 or not all(hasattr(part, "save_pretrained") for part in parts):
        raise InvalidRequest("A Hugging Face model needs its tokenizer: give a pipeline, or (model, tokenizer).")
    for part in parts:
        part.save_pretrained(str(folder))
    return folder


def _save_torch(model: Any, sample: Any, folder: Path) -> Saved:
    torch = import_module("torch")
    names = [
        name for name, parameter in inspect.signature(model.forward).parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    arrays = _arrays(sample, tuple(names))
    if not arrays:
        raise InvalidRequest("A PyTorch model does not say what it takes; give a sample: an array, or arrays by name, rows first.")
    kept = _save_arrays(arrays, folder)
    if isinstance(model, torch.jit.ScriptModule):
        torch.jit.save(model, str(folder / "model.pt"))
        return Saved(folder / "model.pt", kept)
    # One row would be taken for the only number of rows there is.
    example = tuple(torch.from_numpy(np.repeat(array, 2, axis=0) if array.shape[0] < 2 else array[:8]) for array in arrays.values())
    free = tuple(dict.fromkeys(range(tensor.ndim), torch.export.Dim.AUTO) for tensor in example)
    program = torch.export.export(model.eval(), example, dynamic_shapes=free)
    torch.export.save(program, str(folder / "model.pt2"))
    return Saved(folder / "model.pt2", kept)


def _save_sample(sample: Any, folder: Path, names: tuple[str, ...]) -> Path | None:
    if sample is None:
        return None
    if isinstance(sample, str | Path):
        return Path(sample)
    if hasattr(sample, "to_csv"):
        sample.to_csv(folder / "sample.csv", index=False)
        return folder / "sample.csv"
    return _save_arrays(_arrays(sample, names), folder)


def _save_arrays(arrays: Mapping[str, Any], folder: Path) -> Path:
    path = folder / "sample.npz"
    np.savez(path, allow_pickle=False, **{name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()})
    return path


def _arrays(sample: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Arrays by name, in order; a tuple's are named as a model's parameters are."""
    if sample is None:
        return {}
    if isinstance(sample, Mapping):
        found = dict(sample)
    elif isinstance(sample, tuple):
        if len(names) < len(sample):
            raise InvalidRequest(f"The sample holds {len(sample)} arrays; give them by name: {{'x': …}}.")
        found = dict(zip(names, sample, strict=False))
    else:
        found = {names[0] if names else _MANY: sample}
    arrays = {name: np.asarray(value.detach().numpy() if hasattr(value, "detach") else value) for name, value in found.items()}
    if any(not array.ndim for array in arrays.values()):
        raise InvalidRequest("A sample needs rows: give arrays whose first dimension counts them.")
    return {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()}
