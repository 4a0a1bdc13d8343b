"""MLflow models through their ``python_function`` flavor, whatever is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from modelyard.core.errors import InvalidArtifact
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.runtimes.original import Predict, Settings


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``. Option ``framed``: whether it takes a data frame of columns; one array, or several by name, otherwise."""
    try:
        model = mlflow.pyfunc.load_model(str(folder / settings.entry))
    except mlflow.MlflowException as error:
        raise InvalidArtifact(f"MLflow cannot load the model: {' '.join(str(error).split())[:300]}") from None
    inputs, outputs = settings.signature.inputs, settings.signature.outputs
    framed = bool(settings.options.get("framed"))

    def call(given: dict[str, Array]) -> dict[str, Array]:
        return _named(model.predict(_rows(given, inputs, framed=framed)), outputs)

    return call


def _rows(given: dict[str, Array], specs: Sequence[TensorSpec], *, framed: bool) -> Any:
    if framed:
        return pd.DataFrame({spec.name: _column(given[spec.name], spec) for spec in specs})
    return given[specs[0].name] if len(specs) == 1 else given


def _column(array: Array, spec: TensorSpec) -> Any:
    flat = array.reshape(-1)
    if spec.datatype is not Datatype.BYTES:
        return flat
    return [item.decode() if isinstance(item, bytes) else item for item in flat.tolist()]


def _named(found: Any, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """A frame's columns, a mapping's values or one array, by the names of the outputs."""
    if isinstance(found, pd.DataFrame | Mapping) and all(spec.name in found for spec in specs):
        return {spec.name: _shaped(np.asarray(found[spec.name]), spec) for spec in specs}
    if len(specs) != 1:
        raise TypeError(f"it gave {type(found).__name__}, but its outputs are {', '.join(spec.name for spec in specs)}")
    return {specs[0].name: _shaped(np.asarray(found), specs[0])}


def _shaped(array: Array, spec: TensorSpec) -> Array:
    return array.reshape(-1, *array.shape[2:]) if array.ndim == len(spec.shape) + 1 and array.shape[1] == 1 else array
