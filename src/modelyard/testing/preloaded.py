"""Processes that start at once: a server has imported what they need, and each of them is a fork of it.

The tests start hundreds of short processes, most of whose time would go into importing the same modules. Arguments, streams, working
folder, environment and exit status are those of the caller; only what imports read of the environment was read before.
``python -m modelyard.testing.preloaded DESCRIPTOR MODULE...`` is the server, on a socket that listens already.
"""

from __future__ import annotations

import atexit
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path

_CALL = Path(__file__).with_name("preloaded_call.py")
_LENGTH = 4


class Preloaded:
    """A server that has imported ``modules``; it ends with this process."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="modelyard-preloaded-"))
        self._address = self._folder / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._address))
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(listener.fileno()), *modules],
                stdin=subprocess.PIPE,
                env=environment,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        atexit.register(self.close)

    def command(self, module: str) -> list[str]:
        """What does as ``python -m module`` does, sooner."""
        return [sys.executable, "-I", "-S", str(_CALL), str(self._address), module]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def serve(listener: socket.socket) -> None:
    """Answers calls until standard input ends, as it does with whoever started this; in a fork that is to run a command it returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in readable:
            sys.exit()
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            if _attend(connection):
                return
            os._exit(0)
        connection.close()


def _attend(connection: socket.socket) -> bool:
    """Starts what one caller wants and tells how it ended; true in the process that is to become it."""
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    with connection.makefile("rb") as stream:
        count, folder, *rest = stream.read(int.from_bytes(head, "big")).decode(errors="surrogateescape").split("\0")
    process = os.fork()
    if process == 0:
        connection.close()
        _become(folder, rest[: int(count)], rest[int(count) :], descriptors)
        return True
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(process)
    if ended not in select.select([connection.fileno(), ended], [], [])[0]:
        os.kill(process, signal.SIGTERM)  # the caller was ended
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):
        connection.sendall(status.to_bytes(2, "big", signed=True))
    return False


def _become(folder: str, arguments: list[str], environment: list[str], descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    for entry in environment:
        name, _, value = entry.partition("=")
        os.environ[name] = value
    sys.argv, tempfile.tempdir = arguments, None
    sys.stdin = TextIOWrapper(BufferedReader(FileIO(0, "r", closefd=False)))
    sys.stdout = TextIOWrapper(BufferedWriter(FileIO(1, "w", closefd=False)))
    sys.stderr = TextIOWrapper(BufferedWriter(FileIO(2, "w", closefd=False)), errors="backslashreplace", line_buffering=True)


def main(descriptor: int, modules: Sequence[str]) -> None:
    with socket.socket(fileno=descriptor) as listener:
        for module in modules:
            import_module(module)
        serve(listener)
    module = sys.argv[0]
    sys.modules.pop(module, None)  # it runs as the main module, and was not imported before
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
