"""ONNX models on ONNX Runtime. Imports nothing but onnxruntime, because workers import this."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from modelyard.core.errors import Internal, InvalidArtifact, InvalidTensor, ModelyardError, Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype, decode_tensor, encode_tensor
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime

_T = TypeVar("_T", list[object], dict[str, object])

CLASSES = "modelyard.classes"
"""Key of the metadata that holds the class names of a classifier, as a JSON list."""
DESCRIPTIONS = "modelyard.descriptions"
"""Key of the metadata that holds descriptions of inputs and outputs, as a JSON object by name."""

_BFLOAT16 = 16
_SILENT = 4
_DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.NoSuchFile,
    state.NoModel,
    state.EngineError,
    state.RuntimeException,
    state.InvalidProtobuf,
    state.ModelLoaded,
    state.NotImplemented,
    state.InvalidGraph,
    state.EPFail,
    RuntimeError,
    ValueError,
    TypeError,
)
"""All that ONNX Runtime's binding raises; its own classes have no common root."""
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(
    r"(?:Exception: )?/\S+\.(?:cc|h|hpp|cpp):\d+ \S*(?: \[[^\]]*\])? ?|(?:onnxruntime::|static |bool |void )\S*\([^)]*\) ?"
)
_NODE = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ")
_NO_MEMORY = re.compile(r"alloc", re.IGNORECASE)


class OnnxModel(LoadedModel):
    """A session with its signature. Its arena is mostly off: a worker holds many sessions, and each keeps the most it ever needed."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self.signature = signature
        self._session: onnxruntime.InferenceSession | None = session
        # The public ``run`` checks names once more and looks at each value: 3 us of every run, after admission has checked both.
        self._run = getattr(session, "_sess", session).run
        self._outputs = [spec.name for spec in signature.outputs]
        self._text = [spec.name for spec in signature.inputs if spec.datatype is Datatype.BYTES]
        self._brains = frozenset(spec.name for spec in signature.inputs if spec.datatype is Datatype.BF16)
        self._values = any(spec.datatype is Datatype.BF16 for spec in (*signature.inputs, *signature.outputs))
        """Whether arrays cannot carry every tensor, because NumPy has no bfloat16."""

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        session = self._session
        if session is None:
            raise Unavailable("This version was unloaded; try again.")
        if self._text:
            inputs = {**inputs, **{name: as_text(name, inputs[name]) for name in self._text if name in inputs}}
        try:
            if self._values:
                return self._run_values(session, inputs)
            return dict(zip(self._outputs, self._run(self._outputs, inputs, None), strict=True))
        except ERRORS as error:
            raise _run_error(error) from None

    def _run_values(self, session: onnxruntime.InferenceSession, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = {name: _to_value(array, brain=name in self._brains) for name, array in inputs.items()}
        results = session.run_with_ort_values(self._outputs, feed)
        return {name: _from_value(value) for name, value in zip(self._outputs, results, strict=True)}

    def close(self) -> None:
        self._session = self._run = None


class OnnxRuntime(Runtime):
    """Loads ``*.onnx``, with external data beside it."""

    name = "onnx"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> OnnxModel:
        path = folder / entry
        if not path.is_file():
            raise InvalidArtifact(f"The model file {entry!r} is missing from the artifact.")
        # The default logger speaks on standard error before a session, with a logger of its own, exists.
        onnxruntime.set_default_logger_severity(_SILENT)
        try:
            session = onnxruntime.InferenceSession(str(path), _session_options(options), providers=["CPUExecutionProvider"])
        except ERRORS as error:
            raise InvalidArtifact(_load_sentence(entry, error)) from None
        return OnnxModel(session, _signature(session, entry))


RUNTIME = OnnxRuntime()


def _session_options(options: LoadOptions) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = options.threads
    made.inter_op_num_threads = 1
    made.enable_cpu_mem_arena = options.keep_memory
    made.log_severity_level = _SILENT
    # Threads that wait for work must not burn the cores that other versions need.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def _signature(session: onnxruntime.InferenceSession, entry: str) -> Signature:
    metadata = session.get_modelmeta().custom_metadata_map
    described = _metadata(metadata, DESCRIPTIONS, entry, dict)
    classes = _metadata(metadata, CLASSES, entry, list)
    return Signature(
        inputs=tuple(_spec(argument, "input", described) for argument in session.get_inputs()),
        outputs=tuple(_spec(argument, "output", described) for argument in session.get_outputs()),
        classes=tuple(str(name) for name in classes),
    )


def _metadata(metadata: dict[str, str], key: str, entry: str, kind: type[_T]) -> _T:
    text = metadata.get(key)
    if text is None:
        return kind()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise InvalidArtifact(f"The metadata {key!r} of {entry!r} is not a JSON {kind.__name__}; write it as one or leave it out.")
    return value


def _spec(argument: onnxruntime.NodeArg, kind: str, described: dict[str, object]) -> TensorSpec:
    datatype = _DATATYPES.get(argument.type)
    if datatype is None:
        hint = (
            " Convert with zipmap off (skl2onnx: options={'zipmap': False}) so that probabilities are a tensor."
            if "map(" in argument.type
            else ""
        )
        raise InvalidArtifact(f"The {kind} {argument.name!r} is {argument.type}; only tensors can be served.{hint}")
    shape = tuple(-1 if size is None or size == "" else size for size in argument.shape)
    return TensorSpec(name=argument.name, datatype=datatype, shape=shape, description=str(described.get(argument.name, "")))


def as_text(name: str, array: Array) -> Array:
    """The array with ``str`` elements only: ONNX Runtime would write a ``bytes`` element as its Python literal."""
    flat = array.ravel().tolist()
    if all(type(item) is str for item in flat):
        return array if array.dtype == object else array.astype(object)
    try:
        texts = [item if isinstance(item, str) else bytes(item).decode() for item in flat]
    except UnicodeDecodeError as error:
        raise InvalidTensor(f"Input {name!r} holds bytes that are not UTF-8 text ({error.reason}); the model takes text.") from None
    out = np.empty(len(texts), object)
    out[:] = texts
    return out.reshape(array.shape)


def _to_value(array: Array, *, brain: bool) -> onnxruntime.OrtValue:
    if not brain:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    bits = np.frombuffer(encode_tensor(array, Datatype.BF16), np.uint16).reshape(array.shape)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16)


def _from_value(value: onnxruntime.OrtValue) -> Array:
    if value.element_type() != _BFLOAT16:
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape))) if value.data_ptr() else b""
    return decode_tensor(data, Datatype.BF16, shape)


def _clean(error: Exception) -> str:
    """One line of ONNX Runtime's message, without its codes and its own source paths."""
    text = _PREFIX.sub("", str(error)).strip()
    text = _SOURCE.sub("", text)
    return " ".join(text.split())[:300].rstrip(". ")


def _run_error(error: Exception) -> ModelyardError:
    text = _clean(error)
    if _NO_MEMORY.search(text):
        return Unavailable("There is not enough memory to run the model on inputs of this size; send fewer rows at once.")
    if isinstance(error, state.EPFail | state.EngineError):
        return Internal("The model's library failed on this call.")
    found = _NODE.search(text)
    if found:
        return InvalidTensor(f"The model cannot compute these inputs: in its {found[1]} node {found[2]!r}, {text[found.end() :]}.")
    return InvalidTensor(f"The model cannot compute these inputs: {text}.")


def _load_sentence(entry: str, error: Exception) -> str:
    text = _clean(error)
    if isinstance(error, state.InvalidProtobuf) or "No graph was found" in text:
        return f"{entry!r} is not an ONNX model, or it was cut off on its way; export or upload it again."
    text = re.sub(r"Load model from \S+ failed:", "", text)
    if isinstance(error, state.NotImplemented) or "is not a registered function/op" in text:
        return (
            f"{entry!r} uses an operator that ONNX Runtime {onnxruntime.__version__} does not have: {text}. "
            "Export it with standard operators or another opset."
        )
    if "opset" in text.lower():
        return f"{entry!r} needs an opset that ONNX Runtime {onnxruntime.__version__} does not know: {text}. Export it with an older one."
    if "external" in text.lower():
        return f"{entry!r} keeps weights in external files that cannot be read: {text}. Upload them beside it."
    return f"{entry!r} does not load: {text}. Check it with onnx.checker.check_model and export it again."
