"""Which runtime reads a file: the table of formats, and a guess from a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.plugins import PluginTable
from modelyard.runtimes.base import Runtime

RUNTIMES: PluginTable[Runtime] = PluginTable(
    "modelyard.runtimes",
    {
        "onnx": "modelyard.runtimes.onnx:RUNTIME",
        "hf_onnx": "modelyard.runtimes.hf_onnx:RUNTIME",
        "openvino": "modelyard.runtimes.openvino:RUNTIME",
        "original": "modelyard.runtimes.original:RUNTIME",
        "llama_cpp": "modelyard.runtimes.llama_cpp:RUNTIME",
        "transformers": "modelyard.runtimes.transformers:RUNTIME",
        "vllm": "modelyard.runtimes.vllm:RUNTIME",
        "python": "modelyard.runtimes.python_model:RUNTIME",
        "remote": "modelyard.runtimes.remote:RUNTIME",
    },
    extras={"hf_onnx": "text", "openvino": "llm", "llama_cpp": "llama-cpp", "transformers": "transformers", "vllm": "llm"},
)
"""Formats by name; each value is a stateless Runtime."""

CHECKS: PluginTable[Callable[[Path, str], None]] = PluginTable(
    "modelyard.runtime_checks",
    {"onnx": "modelyard.runtimes.onnx_check:check_onnx", "hf_onnx": "modelyard.runtimes.onnx_check:check_onnx"},
)
"""By format: a look at the files of a pushed model (folder, entry) that raises InvalidArtifact.

Run in the confined probe only, before anything is loaded; may import heavy libraries. A format without a line has no such check.
"""

RUNS_CODE = frozenset({"python", "original"})
"""Formats whose files are programs."""
NEEDS_TRUST = {"python": "is a program", "original": "is opened by its own library", "remote": "sends calls to other hosts"}
"""Formats that only somebody with the right ``trust`` may push, and why."""
SEALED = frozenset({"remote"})
"""Formats whose files may hold sealed secrets."""

REACH_OUT = frozenset({"remote", "vllm"})
"""Formats whose replicas call other hosts, or start a server's program; all others are confined while they are tried and served."""

_SUFFIXES = {".onnx": "onnx", ".py": "python"}
_ADVICE = {
    ".pkl": "convert the model to ONNX first (for scikit-learn: skl2onnx.to_onnx)",
    ".pickle": "convert the model to ONNX first (for scikit-learn: skl2onnx.to_onnx)",
    ".joblib": "convert the model to ONNX first (for scikit-learn: skl2onnx.to_onnx)",
    ".pt": "export the model to ONNX first (torch.onnx.export)",
    ".pth": "export the model to ONNX first (torch.onnx.export)",
    ".h5": "export the model to ONNX first (keras.Model.export with format='onnx')",
    ".keras": "export the model to ONNX first (keras.Model.export with format='onnx')",
    ".pb": "convert the model to ONNX first (python -m tf2onnx.convert)",
}


def detect_format(path: Path) -> str:
    """The name of the format of a model file, or of the only model file in a folder.

    Raises InvalidArtifact when the path is missing or leaves it open, Unsupported when no runtime reads it.
    """
    if path.is_dir():
        found = sorted(item for item in path.iterdir() if item.suffix in _SUFFIXES)
        if len(found) == 1:
            return _SUFFIXES[found[0].suffix]
        names = ", ".join(item.name for item in found)
        raise InvalidArtifact(
            f"The folder {path.name!r} holds several model files ({names}); name the one to load."
            if found
            else f"The folder {path.name!r} holds no model file; a model file ends in {_known()}."
        )
    if not path.is_file():
        raise InvalidArtifact(f"There is no model file {path.name!r}.")
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    advice = _ADVICE.get(suffix, "give its format by name, or convert the model to ONNX")
    raise Unsupported(f"No runtime reads {path.name!r} (known: {_known()}); {advice}.")


def _known() -> str:
    return ", ".join(f"*{suffix}" for suffix in _SUFFIXES)
