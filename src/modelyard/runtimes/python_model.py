"""A user's Python class as a model. Runs in a replica process of its own, often in an environment of its own: needs NumPy only.

    class Model:
        def setup(self) -> None: ...                        # optional; may take the folder of the model's files
        def predict(self, age: float, city: str) -> float: ...       # one row
        def predict_batch(self, age, city) -> numpy.ndarray: ...     # optional: all rows at once, as arrays
        def stream(self, prompt: str) -> Iterator[str]: ...          # optional: pieces of text, for the text protocols
        def close(self) -> None: ...                        # optional

A module without such a class may have the methods as functions: ``predict`` or ``predict_batch`` (or its only public function, whatever it
is called), ``setup`` and ``close``, and say ``signature``, ``concurrency``, ``repeatable`` and ``tried`` as a class does.

What user code raises is logged where it runs, with its traceback, and callers hear no more than that the model failed; to tell
callers something, raise ``modelyard.core.errors.InvalidTensor``.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import Internal, InvalidArtifact, InvalidTensor, ModelyardError, Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.python_signature import signature_of
from modelyard.runtimes.python_stream import StreamingPythonModel

logger = logging.getLogger(__name__)
RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    ReferenceError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    UnicodeError,
    ValueError,
    Warning,
)
"""Python's own errors. What user code derives from Exception itself ends at the edge of whoever runs the model."""
_TAKES: dict[str, frozenset[type]] = {"f": frozenset({float, int, bool}), "i": frozenset({int, bool}), "b": frozenset({bool})}
_NAMES = count(1)
_SAID = ("signature", "concurrency", "repeatable", "tried")
"""What a class may say of itself, and a module of functions too."""


class PythonModel(LoadedModel):
    """An instance of the user's class, with rows taken apart and put together."""

    def __init__(self, instance: Any, signature: Signature) -> None:
        self.signature = signature
        self._instance: Any = instance
        kind = type(instance)
        self.concurrency = int(getattr(kind, "concurrency", 1))
        self.repeatable = bool(getattr(kind, "repeatable", True))
        self.tried = bool(getattr(kind, "tried", True))
        self._batch: Callable[..., Any] | None = getattr(instance, "predict_batch", None)
        self._single: Callable[..., Any] | None = getattr(instance, "predict", None)
        self.joins = self._batch is not None
        self._names = tuple(spec.name for spec in signature.outputs)
        self._scalars = _scalars(signature)
        self._dtype = NUMPY[signature.outputs[0].datatype]
        self._columns = _columns(signature)
        self._where = f"{kind.__name__}.{'predict_batch' if self._batch is not None else 'predict'}"

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if self._instance is None:
            raise Unavailable("This version was unloaded; try again.")
        if not self._columns:
            inputs = {spec.name: texts_of(inputs[spec.name], spec) for spec in self.signature.inputs if spec.name in inputs}
        try:
            if self._batch is not None:
                # Copies, because user code may write to them.
                return self._whole(self._batch(**{name: array.copy() for name, array in inputs.items()}))
            return self._rows(inputs)
        except ModelyardError:
            raise
        except RAISED as error:
            logger.exception("%s failed with %s", self._where, type(error).__name__)
            raise Internal("The model failed on this call; its deployment's log has the reason.") from None

    def close(self) -> None:
        instance, self._instance = self._instance, None
        self._batch = self._single = None
        if hasattr(instance, "close"):
            try:
                instance.close()
            except RAISED:
                logger.exception("%s.close failed", type(instance).__name__)

    def _rows(self, inputs: dict[str, Array]) -> dict[str, Array]:
        single, names = self._single, self._columns
        if single is None:
            raise Unavailable("This version was unloaded; try again.")
        # The usual cases take a few steps: between one call and the next the model waits for all that is done here.
        if names:
            answers = [single(**dict(zip(names, row, strict=True))) for row in zip(*[inputs[name].tolist() for name in names], strict=True)]
        else:
            columns = {name: _as_python(array) for name, array in inputs.items()}
            answers = [
                single(**{name: column[row] for name, column in columns.items()}) for row in range(len(next(iter(columns.values()))))
            ]
        if self._scalars and self._scalars.issuperset(map(type, answers)):
            return {self._names[0]: np.array(answers, self._dtype)}
        found = [self._named(answer) for answer in answers]
        return {spec.name: self._array(spec, [item.get(spec.name) for item in found], len(answers)) for spec in self.signature.outputs}

    def _whole(self, answer: Any) -> dict[str, Array]:
        named = self._named(answer)
        found = {spec.name: self._array(spec, named.get(spec.name), None) for spec in self.signature.outputs}
        # What user code gives it may write to again, and what a model gives belongs to its caller.
        return {name: array.copy() if not array.flags.owndata or array is named[name] else array for name, array in found.items()}

    def _named(self, answer: Any) -> Mapping[str, Any]:
        names = self._names
        if isinstance(answer, Mapping):
            return answer
        if all(hasattr(answer, name) for name in names):  # a named tuple or data class
            return {name: getattr(answer, name) for name in names}
        if len(names) == 1:
            return {names[0]: answer}
        raise TypeError(f"it returned {type(answer).__name__}, but its outputs are {', '.join(names)}; return a dictionary of them")

    def _array(self, spec: TensorSpec, value: Any, rows: int | None) -> Array:
        if value is None or (isinstance(value, list) and any(item is None for item in value)):
            raise TypeError(f"it gave nothing for its output {spec.name!r}")
        if spec.datatype is Datatype.BYTES and not isinstance(value, np.ndarray):
            made: Array = np.array(value, dtype=object)
        else:
            made = np.asarray(value)
            wanted = NUMPY[spec.datatype]
            if made.dtype != wanted and (spec.datatype is not Datatype.BYTES or made.dtype.kind not in "SUO"):
                made = made.astype(wanted, casting="same_kind" if made.size else "unsafe")
            made = made.astype(object) if spec.datatype is Datatype.BYTES and made.dtype.kind != "O" else made
        if made.ndim != len(spec.shape) or (rows is not None and made.shape[0] != rows):
            raise ValueError(f"its output {spec.name!r} has shape {list(made.shape)}, but {spec.wire_shape} was declared")
        return made


class PythonRuntime(Runtime):
    """Loads ``model.py``: a class called ``Model``, or the only one that has ``predict``, ``predict_batch`` or ``stream``; or functions."""

    name = "python"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:  # noqa: ARG002  # threads are set by the environment
        path = folder / entry
        if not path.is_file():
            raise InvalidArtifact(f"The file {entry!r} is missing from the artifact.")
        kind = _class_of(_import(path, entry), entry)
        signature = _signature(kind)
        instance = _made(kind, folder)
        model = PythonModel(instance, signature)
        return StreamingPythonModel(model, instance) if hasattr(kind, "stream") else model


RUNTIME = PythonRuntime()


def _import(path: Path, entry: str) -> Any:
    """The module, under a name of its own, so that it can be loaded again when it has changed."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = spec_from_file_location(f"modelyard_user_model_{next(_NAMES)}", path)
    if spec is None or spec.loader is None:
        raise InvalidArtifact(f"{entry!r} is no Python file; give a file that ends in .py.")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        logger.info("%s cannot be imported", entry, exc_info=True)
        raise InvalidArtifact(
            f"{entry!r} imports {error.name!r}, which is not installed; name its package in a requirements.txt beside it."
        ) from None
    except RAISED as error:
        logger.info("%s cannot be imported", entry, exc_info=True)
        raise InvalidArtifact(f"{entry!r} cannot be imported: {_told(error, path)}.") from None
    return module


def _told(error: BaseException, path: Path) -> str:
    """An error with the line of the user's file that it came from, without the path of the folder."""
    line, trace = getattr(error, "lineno", 0) or 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f", line {line}" if line else ""
    text = " ".join(str(getattr(error, "msg", None) or error).replace(str(path.parent), "").split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}{where}"


def _class_of(module: Any, entry: str) -> type:
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type)
        and item.__module__ == module.__name__
        and any(hasattr(item, name) for name in ("predict", "predict_batch", "stream"))
    ]
    for kind in found:
        if kind.__name__ == "Model":
            return kind
    functions = _functions_of(module) if not found else {}
    if functions:
        body: dict[str, Any] = {name: staticmethod(each) for name, each in functions.items()}
        said = {name: vars(module)[name] for name in _SAID if name in vars(module)}
        return type("Model", (), {"__module__": module.__name__, **said, **body})
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found)
        raise InvalidArtifact(
            f"{entry!r} has several classes with predict ({names}); call the one to serve Model."
            if found
            else f"{entry!r} has no class with a method predict, predict_batch or stream; write one called Model, or a function predict."
        )
    return found[0]


def _functions_of(module: Any) -> dict[str, Callable[..., Any]]:
    """A module's own functions by what they are for; nothing where it is not clear which one predicts."""
    own = {
        name: item
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    rest = {name: own.pop(name) for name in ("setup", "close") if name in own}
    known: dict[str, Callable[..., Any]] = {name: own[name] for name in ("predict", "predict_batch") if name in own}
    if not known and len(own) == 1:
        known = {"predict": next(iter(own.values()))}
    return known | rest if known else {}


def _signature(kind: type) -> Signature:
    for name in ("predict", "predict_batch"):
        if hasattr(kind, name):
            return signature_of(kind, getattr(kind, name))
    return Signature(
        inputs=(TensorSpec(name="text_input", datatype=Datatype.BYTES, shape=(-1,)),),
        outputs=(TensorSpec(name="text_output", datatype=Datatype.BYTES, shape=(-1,)),),
    )


def _made(kind: type, folder: Path) -> Any:
    try:
        instance = kind()
        setup = getattr(instance, "setup", None)
        if setup is not None:
            setup(*([folder] if inspect.signature(setup).parameters else []))
    except ModelyardError:
        raise
    except RAISED as error:
        logger.info("The setup of %s failed", kind.__name__, exc_info=True)
        file = Path(sys.modules[kind.__module__].__file__ or "")
        raise InvalidArtifact(f"The setup of {kind.__name__} failed: {_told(error, file)}.") from None
    return instance


def texts_of(array: Array, spec: TensorSpec) -> Array:
    """Text as ``str``; bytes that are no text stay bytes."""
    if spec.datatype is not Datatype.BYTES:
        return array
    made = np.empty(array.size, object)
    try:
        made[:] = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidTensor(f"Input {spec.name!r} holds bytes that are not UTF-8 text ({error.reason}).") from None
    return made.reshape(array.shape)


def _scalars(signature: Signature) -> frozenset[type]:
    """Types of Python's own values that become the one output as they are; none where it takes more than that."""
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 1:
        return frozenset()
    return _TAKES.get(NUMPY[signature.outputs[0].datatype].kind, frozenset())


def _columns(signature: Signature) -> tuple[str, ...]:
    """Names of the inputs, where all are there in every call and each is one number a row; else none."""
    plain = all(not spec.optional and len(spec.shape) == 1 and spec.datatype is not Datatype.BYTES for spec in signature.inputs)
    return tuple(spec.name for spec in signature.inputs) if plain else ()


def _as_python(array: Array) -> list[Any]:
    """The rows of an array: Python's own values for scalars, arrays of their own for the rest."""
    return list(array.tolist()) if array.ndim == 1 else [row.copy() for row in array]
