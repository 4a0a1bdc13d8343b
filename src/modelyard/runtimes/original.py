"""Models that run with the library that they were made with, because no exact ONNX conversion of them exists.

The folder holds the files as they were brought and ``original.json`` (``Settings``) beside them. Opening them can run their maker's
code, so they run in processes of their own and are pushed with the right ``trust`` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import Internal, InvalidArtifact, InvalidTensor, ModelyardError, Unavailable
from modelyard.core.plugins import PluginTable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.python_model import RAISED, texts_of

SETTINGS = "original.json"
Predict = Callable[[dict[str, Array]], dict[str, Array]]
Open = Callable[[Path, "Settings"], Predict]
_FOLDER = "modelyard.runtimes.originals"
ORIGINALS: PluginTable[Open] = PluginTable(
    "modelyard.originals",
    {
        "sklearn": f"{_FOLDER}.estimators:open_original",
        "catboost": f"{_FOLDER}.catboost_models:open_original",
        "torch": f"{_FOLDER}.torch_programs:open_original",
        "keras": f"{_FOLDER}.keras_models:open_original",
        "tensorflow": f"{_FOLDER}.saved_models:open_original",
        "mlflow": f"{_FOLDER}.pyfunc:open_original",
    },
)
"""By library: from a folder and its settings to a function of named arrays. It raises InvalidArtifact for files that cannot be opened."""
logger = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``original.json``."""

    library: str
    """Which of ``ORIGINALS`` opens it."""
    entry: str
    """Its main file, or an empty name for the folder itself."""
    signature: Signature
    options: dict[str, Any] = {}
    """What the library's file wants to know besides."""


class OriginalModel(LoadedModel):
    """A function of the library's, with its answers as the signature says."""

    def __init__(self, predict: Predict, settings: Settings) -> None:
        self.signature = settings.signature
        self._predict: Predict | None = predict
        self._library = settings.library

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if self._predict is None:
            raise Unavailable("This version was unloaded; try again.")
        try:
            # Copies, because the library or the model may write to them.
            given = {spec.name: texts_of(inputs[spec.name], spec).copy() for spec in self.signature.inputs if spec.name in inputs}
            found = self._predict(given)
            return {spec.name: as_declared(spec, found) for spec in self.signature.outputs}
        except ModelyardError:
            raise
        except ValueError as error:
            # What libraries say of data that they refuse; the model's own faults look the same to them.
            logger.exception("The model refused a call")
            raise InvalidTensor(f"The model refuses this data: {' '.join(str(error).split())[:300]}") from None
        except RAISED as error:
            logger.exception("The model failed with %s", type(error).__name__)
            raise Internal("The model failed on this call; its deployment's log has the reason.") from None

    def close(self) -> None:
        self._predict = None


class OriginalRuntime(Runtime):
    """Loads ``original.json`` and opens what lies beside it."""

    name = "original"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:  # noqa: ARG002  # threads are set by the environment
        try:
            settings = msgspec.json.decode((folder / entry).read_bytes(), type=Settings)
        except OSError as error:
            raise InvalidArtifact(f"{entry!r} cannot be read: {error.strerror}.") from None
        except UNREADABLE as error:
            raise InvalidArtifact(f"{entry!r} cannot be read: {error}.") from None
        try:
            return OriginalModel(ORIGINALS.get(settings.library)(folder, settings), settings)
        except ModuleNotFoundError as error:
            raise InvalidArtifact(
                f"The model needs the Python package {error.name!r} where it runs; install it beside the platform, or name it in a "
                "requirements.txt among the model's files."
            ) from None


RUNTIME = OriginalRuntime()


def as_declared(spec: TensorSpec, found: Mapping[str, Any]) -> Array:
    """One output with the datatype that its signature gives it; a copy, because the model may write to what it gave."""
    array = np.asarray(found[spec.name])
    if spec.datatype is not Datatype.BYTES:
        return np.array(array, NUMPY[spec.datatype], order="C")
    made = np.empty(array.size, object)
    made[:] = [item if isinstance(item, str | bytes) else str(item) for item in array.ravel().tolist()]
    return made.reshape(array.shape)


def declared(name: str, array: Array, *, rows: bool) -> TensorSpec:
    """How an output that was seen is declared: numbers as they came, all else as text, with rows left open.

    Raises InvalidArtifact for what is no tensor.
    """
    if array.dtype.kind in "OSU":
        datatype: Datatype | None = Datatype.BYTES
    else:
        datatype = next((Datatype(kind) for kind, dtype in NUMPY.items() if dtype == array.dtype), None)
    if datatype is None:
        raise InvalidArtifact(f"The model's output {name!r} is of type {array.dtype}, which no protocol carries.")
    return TensorSpec(name=name, datatype=datatype, shape=(-1, *array.shape[1:]) if rows and array.ndim else array.shape)
