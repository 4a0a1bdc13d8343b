"""The confined child: ``python -P -m modelyard.engines.confined_child FOLDER``.

Confines itself before it imports anything heavy, does the errand in ``request.json``, and writes ``answer.json`` whatever happens, short
of the end of the process. Whoever started it believes the answer as far as what it opened is believed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType

from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.core.plugins import load_string
from modelyard.engines.confinement import Bounds, confine

_PR_SET_PDEATHSIG = 1


def main(folder: Path) -> None:
    """Does one errand."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _answer_failures(folder)
    errand = json.loads((folder / "request.json").read_bytes())
    bounds = Bounds(cpu_seconds=int(errand["seconds"]), file_bytes=int(errand["file_bytes"]))
    held = confine(folder, bounds, errand["readable"])
    outcome: bytes = load_string(errand["work"])(folder, held)
    _write(folder, b'{"outcome":' + outcome + b"}")
    os._exit(0)  # what the model's libraries would do at the end is of no use to anybody


def _answer_failures(folder: Path) -> None:
    """Whatever ends this process as an exception becomes its answer: what was opened decides what a library raises."""

    def answer(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, ModelyardError):
            code, message = error.code, error.message
        else:
            traceback.print_exception(kind, error, trace)
            code = InvalidArtifact.code
            message = f"The model cannot be opened or converted: {_said(error)}"
        _write(folder, json.dumps({"code": code, "message": message.replace(f"{folder.parent}/", "")}).encode())
        os._exit(1)

    sys.excepthook = answer


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it wants more memory than a job may use (MODELYARD_JOB_MEMORY_BYTES)."
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the Python package {error.name!r}, which is not installed beside the platform."
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def _write(folder: Path, answer: bytes) -> None:
    part = folder / "answer.part"
    part.write_bytes(answer)
    part.replace(folder / "answer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
