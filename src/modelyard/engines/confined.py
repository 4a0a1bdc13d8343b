"""Work on what must not be trusted, in a confined child process; this side only reads its answer."""

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
from modelyard.core.unreadable import UNREADABLE
from modelyard.engines.confinement import own_places

REQUEST, ANSWER, STAGE = "request.json", "answer.json", "stage"
FILE_BYTES = 32 << 30
_ANSWER_LIMIT = 8 << 20
_STAGE_LIMIT = 400
_CHILD = (sys.executable, "-P", "-m", "modelyard.engines.confined_child")
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


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: ``request.json`` in its folder."""

    work: str
    """Import string of a function of the folder and of how the child is confined, in words; it gives what ``run_confined`` gives."""
    details: msgspec.Raw
    """For the work alone."""
    readable: tuple[str, ...] = ()
    """Paths that it may read besides its folder, which alone it may write."""
    seconds: float
    """Of CPU time; the clock may take a minute more."""
    file_bytes: int = FILE_BYTES


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``answer.json``: what came of it, or an error by code and message."""

    outcome: msgspec.Raw = msgspec.Raw(b"")
    code: str = ""
    message: str = ""


def run_confined(folder: Path, errand: Errand, on_stage: Callable[[str], None], *, doing: str, command: tuple[str, ...] = ()) -> bytes:
    """Does the work in a child and gives its outcome, encoded; what the child writes to its folder's file ``stage`` is passed on.

    Raises what the child says, or InvalidArtifact for how it ended, about what it was ``doing``.
    """
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / REQUEST).write_bytes(msgspec.json.encode(errand))
    environment = _environment(os.environ, folder)
    process = subprocess.Popen([*(command or _CHILD), str(folder)], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=2)
    try:
        status = _wait(process, folder / STAGE, errand.seconds + 60, on_stage)
    finally:
        process.kill()
        process.wait()
    answer = _answer(folder / ANSWER)
    if answer is None:
        raise InvalidArtifact(_ending(status, errand.seconds, doing))
    if answer.code:
        kind: type[ModelyardError] = error_codes().get(answer.code, InvalidArtifact)
        raise kind(answer.message)
    return bytes(answer.outcome)


def _wait(process: subprocess.Popen[bytes], stage: Path, seconds: float, on_stage: Callable[[str], None]) -> int | None:
    deadline = time.monotonic() + seconds
    shown = ""
    while time.monotonic() < deadline:
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            now = _small(stage, _STAGE_LIMIT).decode(errors="replace")
            if now and now != shown:
                shown = now
                on_stage(now)
    return None


def _answer(path: Path) -> Answer | None:
    raw = _small(path, _ANSWER_LIMIT)
    try:
        return msgspec.json.decode(raw, type=Answer) if raw else None
    except UNREADABLE:
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


def _ending(status: int | None, seconds: float, doing: str) -> str:
    if status is None or status == -signal.SIGXCPU:
        return f"{doing} took longer than the {seconds:g} s it may; see whether a smaller model does, or do it yourself."
    if status == -signal.SIGKILL:
        return f"{doing} was ended by the operating system, most likely because it took too much memory."
    if status < 0:
        return f"{doing} crashed its process ({signal.Signals(-status).name}); save the model again with a current library."
    return f"{doing} ended with status {status} and no answer; the job's log has its last words."


def _environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    return {name: environment[name] for name in _PASSED_ON if name in environment} | _OFFLINE | own_places(folder / "tmp")
