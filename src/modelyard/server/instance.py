"""One platform on one home: the lock that makes it one, and how others find and stop it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from modelyard.core.errors import Conflict, DeadlineExceeded
from modelyard.core.unreadable import UNREADABLE
from modelyard.store.home import Home

STATE = "supervisor.json"
RETRY_SECONDS = 0.5


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What a running platform says of itself in ``HOME/run/supervisor.json``."""

    pid: int
    inference_url: str
    management_url: str
    grpc_address: str = ""
    version: str
    started_ns: int
    ready: bool = False


class HomeLock:
    """Holds a home for as long as the platform runs. The kernel releases it when the last process that inherited it is gone."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.descriptor = -1

    def __enter__(self) -> HomeLock:
        """Takes the lock. Raises Conflict that names the process which holds it, and for a place that can hold no home."""
        try:
            self._home.root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._home.root, self._home.run):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.descriptor = os.open(self._home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Conflict(f"{self._home.root} cannot hold a home: {error.strerror}; choose another folder with --home.") from None
        until = time.monotonic() + RETRY_SECONDS
        while not _lock(self.descriptor, fcntl.LOCK_EX):
            if time.monotonic() > until:
                holder = os.read(self.descriptor, 32).decode().strip() or "unknown"
                os.close(self.descriptor)
                raise Conflict(
                    f"Modelyard already runs on {self._home.root} (process {holder}); stop it with: modelyard down --home {self._home.root}"
                )
            time.sleep(0.02)  # somebody may only be looking whether it is held
        os.ftruncate(self.descriptor, 0)
        os.write(self.descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        (self._home.run / STATE).unlink(missing_ok=True)
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)

    def publish(self, instance: Instance) -> None:
        """Tells others of this platform."""
        path = self._home.run / STATE
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(instance))
        part.replace(path)


def find(home: Home) -> Instance | None:
    """The platform that runs on a home; None when none does, or when it has not got as far as to say so."""
    if not _held(home.lock_file):
        return None
    try:
        return msgspec.json.decode((home.run / STATE).read_bytes(), type=Instance)
    except (OSError, *UNREADABLE):
        return None


def stop(home: Home, timeout: float) -> Instance | None:
    """Stops the platform on a home and waits until it is gone; what it was, or None when none ran.

    Raises DeadlineExceeded when it is still there after ``timeout`` seconds.
    """
    found = find(home)
    if found is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    until = time.monotonic() + timeout
    while _held(home.lock_file):
        if time.monotonic() > until:
            raise DeadlineExceeded(f"Modelyard (process {found.pid}) has not stopped within {timeout:g} s; it still ends calls in flight.")
        time.sleep(0.05)
    return found


def _lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
