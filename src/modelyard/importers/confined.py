"""The job's side of a conversion: a confined child process does it; this side only reads its answer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from modelyard.core.errors import InvalidArtifact, ModelyardError, error_codes
from modelyard.importers.spec import Outcome, Part

SECONDS = 1800.0
_ANSWER_LIMIT = 8 << 20
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "KERAS_BACKEND": "torch",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
    "JOBLIB_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the child reads from ``request.json`` in its folder."""

    brought: str
    part: Part
    sample: str = ""
    """Path of the sample's file."""
    sample_name: str = ""
    trust: bool = False
    """Whether the model may be kept as it is, for its library to run it in a replica process."""
    seconds: float = SECONDS
    file_bytes: int = 32 << 30


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``answer.json``: an outcome, or an error by code and message."""

    outcome: Outcome | None = None
    code: str = ""
    message: str = ""


def convert(folder: Path, request: Request, on_stage: Callable[[str], None], command: tuple[str, ...] = ()) -> Outcome:
    """Converts in a child that may write ``folder`` only; the artifact is in ``folder / "made"`` then.

    Raises what the child says, or InvalidArtifact for how it ended.
    """
    for name in ("made", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "request.json").write_bytes(msgspec.json.encode(request))
    child = command or (sys.executable, "-P", "-m", "modelyard.importers.child")
    process = subprocess.Popen([*child, str(folder)], cwd=folder, env=_environment(os.environ, folder), stdin=subprocess.DEVNULL, stdout=2)
    try:
        status = _wait(process, folder / "stage", request.seconds + 60, on_stage)
    finally:
        process.kill()
        process.wait()
    answer = _answer(folder / "answer.json")
    if answer is None:
        raise InvalidArtifact(_ending(status, request.seconds))
    if answer.outcome is None:
        kind: type[ModelyardError] = error_codes().get(answer.code, InvalidArtifact)
        raise kind(answer.message)
    return answer.outcome


def _wait(process: subprocess.Popen[bytes], stage: Path, seconds: float, on_stage: Callable[[str], None]) -> int | None:
    deadline = time.monotonic() + seconds
    shown = ""
    while time.monotonic() < deadline:
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            now = _small(stage, 200).decode(errors="replace")
            if now and now != shown:
                shown = now
                on_stage(now)
    return None


def _answer(path: Path) -> Answer | None:
    raw = _small(path, _ANSWER_LIMIT)
    try:
        return msgspec.json.decode(raw, type=Answer) if raw else None
    except msgspec.DecodeError:
        return None


def _small(path: Path, limit: int) -> bytes:
    """A file of the child's, if it is one and small."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(opened, "rb") as file:  # noqa: PTH123 -- from a handle
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return b""
        found = file.read(limit + 1)
    return found if len(found) <= limit else b""


def _ending(status: int | None, seconds: float) -> str:
    if status is None or status == -signal.SIGXCPU:
        return f"Converting the model took longer than the {seconds:g} s it may; convert it to ONNX yourself and push that."
    if status == -signal.SIGKILL:
        return "The conversion was killed by the operating system, most likely because it took too much memory."
    if status < 0:
        return f"The model crashed the process that converted it ({signal.Signals(-status).name}); save it again with a current library."
    return f"The conversion ended with status {status} and no answer; the job's log has its last words."


def _environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    own = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR", "JOBLIB_TEMP_FOLDER"), str(folder / "tmp"))
    return {name: environment[name] for name in _PASSED_ON if name in environment} | _OFFLINE | own
