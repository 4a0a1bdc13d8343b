"""Draws pictures in a process beside the one that needs them: loading Matplotlib and drawing take as long as many a fit.

It starts when the work starts, so that it is ready, on another core, by the time there is something to draw.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec
import numpy as np

from modelyard.core.errors import JobFailed

COMMAND = (sys.executable, "-m", "modelyard.evaluation.drawing")
_SECONDS = 300.0


class Request(msgspec.Struct, frozen=True):
    """One picture to draw: ``kind`` names a function of ``plots``."""

    kind: str
    path: str
    """Where it goes, without the extension."""
    arguments: dict[str, Any]


class Illustrator:
    """Draws into ``folder``, which must exist. Use it as a context manager: leaving it ends the process, whatever happened.

    ``draw`` returns at once, and pictures that follow each other are drawn side by side; ``finish`` waits until all are drawn.
    """

    def __init__(self, folder: Path, command: Sequence[str] = ()) -> None:
        self._folder = folder
        self._process = subprocess.Popen(command or COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._encode = msgspec.json.Encoder(enc_hook=_plain).encode

    def draw(self, kind: str, name: str, **arguments: Any) -> None:
        """Has ``NAME.svg`` and ``NAME.png`` drawn by the function ``kind`` of ``plots``; arrays travel as lists.

        Raises JobFailed when the process has ended.
        """
        line = self._encode(Request(kind, str(self._folder / name), arguments))
        target = _input(self._process)
        try:
            target.write(line + b"\n")
            target.flush()
        except OSError:
            raise _failed() from None

    def finish(self) -> None:
        """Returns when all pictures lie in the folder.

        Raises JobFailed when one could not be drawn.
        """
        try:
            _input(self._process).close()
            status = self._process.wait(_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            raise _failed() from None
        if status:
            raise _failed()

    def __enter__(self) -> Illustrator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # it may hold a request that nobody reads any more
            _input(self._process).close()


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise TypeError("The process was started without a pipe.")
    return process.stdin


def _failed() -> JobFailed:
    return JobFailed("The pictures could not be drawn; the job's log has the reason.")


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise NotImplementedError(type(value))
