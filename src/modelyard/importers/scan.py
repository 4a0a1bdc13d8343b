"""What a pickle would call if it were opened, found without opening it.

The pickle's own machine runs on stand-ins: every class or function it asks for is written down and replaced by one that does
nothing, so that names put together on its stack are found as well. Arrays that joblib keeps raw inside the stream are passed over.
Judgement of the names found is picklescan's, whose list of dangerous ones is kept by people who watch for them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from picklescan.scanner import SafetyLevel, scan_pickle_bytes

from modelyard.core.errors import InvalidArtifact
from modelyard.importers.spec import Finding, Verdict

MOST_BYTES = 16 << 30
_KNOWN = ("sklearn", "numpy", "scipy", "joblib", "xgboost", "lightgbm", "catboost", "torch", "collections", "pandas", "skops")
_HARMLESS_BUILTINS = frozenset(
    (
        "bool",
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
    )
)
_NEVER = frozenset({"io", "_io", "importlib", "builtins", "__builtin__", "webbrowser", "pty", "pickle", "_pickle"})
"""Modules that no model needs a name of, beyond those that picklescan knows; of the builtins only the harmless ones."""
_OPENERS = frozenset(
    (
        "DataSource",
        "compile",
        "download_url_to_file",
        "dump",
        "dumps",
        "eval",
        "exec",
        "fromfile",
        "fromregex",
        "genfromtxt",
        "get_handle",
        "load",
        "loads",
        "load_state_dict_from_url",
        "loadtxt",
        "memmap",
        "open_memmap",
        "run",
        "save",
        "system",
        "tofile",
    )
)
"""Functions of well-known libraries that open files, reach the network or run what they are given."""
_OPENERS_BEGIN = ("fetch_", "read_", "save", "to_", "load_")
_PICKLE_ERRORS = (
    struct.error,
    zipfile.BadZipFile,
    OSError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def scan(folder: Path, files: tuple[str, ...]) -> list[Finding]:
    """Findings of all files, each name once a file.

    Raises InvalidArtifact for a file that cannot be followed to its end, and for dangerous names: no right allows those.
    """
    found: list[Finding] = []
    for file in files:
        names = _names(folder / file, file)
        found += [Finding(file=file, name=f"{module}.{name}", verdict=_judged(module, name)) for module, name in sorted(names)]
    dangerous = [finding for finding in found if finding.verdict is Verdict.DANGEROUS]
    if dangerous:
        named = ", ".join(finding.name for finding in dangerous[:5])
        raise InvalidArtifact(
            f"{dangerous[0].file!r} would call {named} when it is opened, which models have no use for; it is not opened. If it is your "
            "own, save the model as ONNX or skops instead."
        )
    return found


def _names(path: Path, file: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    try:
        for stream in _streams(path):
            follower = _Follower(stream)
            follower.load()
            found |= follower.names
    except _PICKLE_ERRORS as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidArtifact(f"{file!r} is damaged or no pickle ({reason}); save or upload it again.") from None
    except RecursionError:
        raise InvalidArtifact(f"{file!r} is nested too deeply for a model; it is not opened.") from None
    return found


def _judged(module: str, name: str) -> Verdict:
    if any(letter in module + name for letter in "\n\r\0") or not (module + name).isascii():
        return Verdict.DANGEROUS
    if module in {"builtins", "__builtin__"} and name in _HARMLESS_BUILTINS:
        return Verdict.KNOWN
    if module in _NEVER or module.startswith("importlib."):
        return Verdict.DANGEROUS
    one = io.BytesIO(f"c{module}\n{name}\n.".encode())
    judged = scan_pickle_bytes(one, "name")
    if judged.scan_err or any(item.safety is SafetyLevel.Dangerous for item in judged.globals):
        return Verdict.DANGEROUS
    known = module.partition(".")[0] in _KNOWN
    last = name.rpartition(".")[2]
    if known and (last in _OPENERS or last.startswith(_OPENERS_BEGIN)):
        return Verdict.DANGEROUS
    if known or all(item.safety is SafetyLevel.Innocuous for item in judged.globals):
        return Verdict.KNOWN
    return Verdict.UNKNOWN


class _Inert:
    """Stands for every class, function and object of a pickle, and does nothing."""

    module = ""
    given: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *given: Any, **_: Any) -> _Inert:
        made = object.__new__(cls)
        made.given = given
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes whatever comes."""

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return _Inert()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _: Any, __: Any) -> None:
        """Keeps nothing."""

    def append(self, _: Any) -> None:
        """Keeps nothing."""

    extend = add = append


class _Follower(pickle._Unpickler):
    """Runs a pickle on stand-ins and keeps the names. Only the pure Python machine has steps that can be replaced."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="bytes")
        self.stream = stream
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module: Any, name: Any) -> type[_Inert]:
        module, name = (item.decode("latin-1") if isinstance(item, bytes) else str(item) for item in (module, name))
        self.names.add((module, name))
        return type("Inert", (_Inert,), {"module": f"{module}.{name}"})

    def persistent_load(self, _: Any) -> _Inert:
        return _Inert()

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it uses the registered extension {code}")

    def build(self) -> None:
        """As BUILD; behind the description of a raw array of joblib's its bytes are passed over."""
        super().load_build()  # type: ignore[misc]
        made = self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(made, _Inert) and made.module == "joblib.numpy_pickle.NumpyArrayWrapper":
            self._pass_array(made.state)

    def _pass_array(self, state: dict[str, Any]) -> None:
        text = state["dtype"].given[0]
        kind = np.dtype(text.decode() if isinstance(text, bytes) else text)
        if kind.hasobject:
            inner = _Follower(self.stream)
            inner.load()
            self.names |= inner.names
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        left = kind.itemsize
        for size in state["shape"]:
            left *= int(size)
        while left > 0:
            piece = len(self.stream.read(min(left, 1 << 20)))
            if not piece:
                raise EOFError("it ends inside an array")
            left -= piece


_Follower.dispatch[pickle.BUILD[0]] = _Follower.build


def _streams(path: Path) -> Iterator[IO[bytes]]:
    """The pickles in a file: itself, as it is or compressed, or the members of an archive that are some."""
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith((".pkl", ".pickle")):
                    with archive.open(member) as inner:
                        yield _Bounded(inner)  # type: ignore[misc]
        return
    with path.open("rb") as file:
        yield _Bounded(_decompressed(file, head))  # type: ignore[misc]


def _decompressed(file: IO[bytes], head: bytes) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMAFile(file)
    if head[:1] == b"x" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return io.BufferedReader(_Inflated(file))
    return file


class _Inflated(io.RawIOBase):
    """A zlib stream as a file."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._machine = file, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            pending = self._machine.unconsumed_tail or self._file.read(1 << 16)
            try:
                found = self._machine.decompress(pending, len(buffer))
            except zlib.error as error:
                raise EOFError(str(error)) from None
            if found or not pending or self._machine.eof:
                buffer[: len(found)] = found
                return len(found)


class _Bounded(io.RawIOBase):
    """What the pickle's machine reads from, up to a limit: a few bytes may unpack to very many."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream, self._left = stream, MOST_BYTES

    def read(self, count: int = -1) -> bytes:
        return self._counted(self._stream.read(count))

    def readline(self, _: int | None = -1) -> bytes:
        return self._counted(self._stream.readline(1 << 16))

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def _counted(self, found: bytes) -> bytes:
        self._left -= len(found)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
        return found
