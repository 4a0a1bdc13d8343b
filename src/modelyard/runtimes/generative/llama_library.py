"""llama.cpp's C functions, out of the library that the package ``xllamacpp`` brings ready built for each platform.

Structures of parameters grow with releases, so they are held as bytes and nothing of their layout is written down here: the fields that are
set are found by the library's own defaults, and what became of them is asked of the context that was made.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.errors import InvalidArtifact

PACKAGE = "xllamacpp"
_DEFAULTS = (512, 2048, 512, 1)
"""Of the first numbers of a context's parameters: n_ctx, n_batch, n_ubatch, n_seq_max."""
_THREADS = (4, 4)
"""Defaults of n_threads and n_threads_batch, which stand together."""
_SWITCHES = bytes((0, 1, 1, 1, 1, 0))
"""Defaults of embeddings, offload_kqv, no_perf, op_offload, swa_full and kv_unified, which stand together behind the numbers."""
_NUMBERS = 16
"""Numbers at the beginning, at most, before the first switch may stand."""


class Parameters(ctypes.Structure):
    """Those of a model or a context, with more room than any release takes."""

    _fields_ = (("content", ctypes.c_uint64 * 128),)


class Batch(ctypes.Structure):
    """``llama_batch``: tokens of any sequences, to be computed at once."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


class ContextSize(NamedTuple):
    """What a context is made for."""

    tokens: int
    """Of all sequences together."""
    sequences: int
    step_tokens: int
    threads: int


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_POINTER, _NUMBER, _TEXT, _TRUTH = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_bool
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what each gives, and takes
    "llama_backend_init": (None,),
    "llama_log_set": (None, _Log, _POINTER),
    "llama_model_default_params": (Parameters,),
    "llama_model_load_from_file": (_POINTER, _TEXT, Parameters),
    "llama_model_free": (None, _POINTER),
    "llama_model_get_vocab": (_POINTER, _POINTER),
    "llama_model_n_ctx_train": (_NUMBER, _POINTER),
    "llama_model_n_embd": (_NUMBER, _POINTER),
    "llama_model_n_head": (_NUMBER, _POINTER),
    "llama_model_n_head_kv": (_NUMBER, _POINTER),
    "llama_model_n_layer": (_NUMBER, _POINTER),
    "llama_vocab_n_tokens": (_NUMBER, _POINTER),
    "llama_tokenize": (_NUMBER, _POINTER, _TEXT, _NUMBER, ctypes.POINTER(ctypes.c_int32), _NUMBER, _TRUTH, _TRUTH),
    "llama_context_default_params": (Parameters,),
    "llama_init_from_model": (_POINTER, _POINTER, Parameters),
    "llama_free": (None, _POINTER),
    "llama_n_batch": (ctypes.c_uint32, _POINTER),
    "llama_n_ubatch": (ctypes.c_uint32, _POINTER),
    "llama_n_ctx_seq": (ctypes.c_uint32, _POINTER),
    "llama_n_seq_max": (ctypes.c_uint32, _POINTER),
    "llama_n_threads": (_NUMBER, _POINTER),
    "llama_n_threads_batch": (_NUMBER, _POINTER),
    "llama_get_memory": (_POINTER, _POINTER),
    "llama_memory_seq_cp": (None, _POINTER, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    "llama_memory_seq_rm": (_TRUTH, _POINTER, _NUMBER, _NUMBER, _NUMBER),
    "llama_batch_init": (Batch, _NUMBER, _NUMBER, _NUMBER),
    "llama_batch_free": (None, Batch),
    "llama_decode": (_NUMBER, _POINTER, Batch),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), _POINTER, _NUMBER),
}


@cache
def library() -> Any:
    """The library, with its functions typed and its log silenced: a runtime says nothing on standard error.

    Raises ModuleNotFoundError where the package is missing, InvalidArtifact where its library is not what it was.
    """
    found = find_spec(PACKAGE)
    folders = found.submodule_search_locations if found is not None else None
    if not folders:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    files = [path for folder in folders for suffix in ("so", "pyd") for path in sorted(Path(folder).glob(f"{PACKAGE}*.{suffix}"))]
    try:
        loaded = ctypes.CDLL(str(files[0]))
        for name, (gives, *takes) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = gives, takes
    except (IndexError, OSError, AttributeError) as error:
        raise _unknown("has no library with the functions of llama.cpp that are called") from error
    loaded.llama_log_set(_SILENCE, None)
    loaded.llama_backend_init()
    return loaded


def new_context(model: Any, size: ContextSize) -> Any:
    """A context of one memory for all sequences, or nothing where there is no room for it.

    Raises InvalidArtifact when the library does not make what is asked for.
    """
    made = library().llama_init_from_model(model, _parameters(size))
    if made and not _as_asked(made, size):
        library().llama_free(made)
        raise _unknown("made another context than it was asked for")
    return made


def _parameters(size: ContextSize) -> Parameters:
    """The library's defaults with what is asked for in the places where it is expected."""
    parameters: Parameters = library().llama_context_default_params()
    numbers = ctypes.cast(ctypes.pointer(parameters), ctypes.POINTER(ctypes.c_int32))
    first = tuple(numbers[:_NUMBERS])
    threads = [at for at in range(len(_DEFAULTS), _NUMBERS - 1) if first[at : at + 2] == _THREADS]
    switches = bytes(parameters).find(_SWITCHES, _NUMBERS * 4)
    if first[: len(_DEFAULTS)] != _DEFAULTS or not threads or switches < 0:
        raise _unknown("has other parameters of a context than are known here")
    for at, value in enumerate((size.tokens, size.step_tokens, size.step_tokens, size.sequences)):
        numbers[at] = value
    numbers[threads[0]] = numbers[threads[0] + 1] = size.threads
    ctypes.memset(ctypes.addressof(parameters) + switches + len(_SWITCHES) - 1, 1, 1)
    return parameters


def _as_asked(context: Any, size: ContextSize) -> bool:
    found = library()
    return bool(
        found.llama_n_ctx_seq(context) >= size.tokens  # a memory that is not shared gives each sequence its part
        and found.llama_n_seq_max(context) == size.sequences
        and found.llama_n_batch(context) >= size.step_tokens
        and found.llama_n_ubatch(context) >= size.step_tokens
        and found.llama_n_threads(context) == found.llama_n_threads_batch(context) == size.threads
    )


def _unknown(what: str) -> InvalidArtifact:
    return InvalidArtifact(f"The installed {PACKAGE} {what}; install the release that Modelyard names: pip install 'modelyard[llama-cpp]'.")


def _ignore(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    pass


_SILENCE = _Log(_ignore)
"""Kept, because the library calls it for as long as the process lives."""
