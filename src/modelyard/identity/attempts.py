"""Attempts to sign in: how long wrong passwords block a name, and how many attempts there are at the same time.

A name that nobody has is treated like one that somebody has, or its answers would tell which names there are: its failures are kept
here, of so many names at most, and are forgotten with the process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.core.errors import LimitExceeded, Unavailable

FREE_FAILURES = 5
LONGEST_BLOCK_S = 3600
MOST_UNKNOWN = 10_000
AT_ONCE = 4
"""Passwords that are hashed at the same time: each takes 64 MiB."""
WAITING = 12
"""Attempts that wait for their turn, each with one of the few dozen threads that answer all calls of the API."""
PATIENCE_S = 2.0


def blocked_until(failures: int, now_ns: int) -> int:
    """Until when a name is blocked after so many wrong passwords in a row; 0 while they are few."""
    wait = min(LONGEST_BLOCK_S, 2 ** min(failures - FREE_FAILURES, 20)) if failures > FREE_FAILURES else 0
    return now_ns + wait * 1_000_000_000 if wait else 0


def check_block(until_ns: int, now_ns: int) -> None:
    """Raises LimitExceeded while a name is blocked."""
    if until_ns > now_ns:
        wait = (until_ns - now_ns) / 1e9
        raise LimitExceeded(f"Too many wrong passwords for this name; wait {wait:.0f} seconds.", retry_after=wait)


class Attempts:
    """Those under way, and failures of names that nobody has. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(AT_ONCE)
        self._room = threading.BoundedSemaphore(AT_ONCE + WAITING)
        self._names: set[str] = set()
        self._unknown: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Failures and until when the name is blocked, by name; the latest last."""

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """For one attempt with a name: those at the same time would all be made before the first is known to be wrong.

        Raises LimitExceeded while another is under way, Unavailable while too many others are.
        """
        with self._lock:
            if name in self._names:
                raise LimitExceeded("Another attempt with this name is under way; try again in a moment.", retry_after=1.0)
            self._names.add(name)
        try:
            with self.hashing():
                yield
        finally:
            with self._lock:
                self._names.discard(name)

    @contextmanager
    def hashing(self) -> Iterator[None]:
        """While a password is hashed. Raises Unavailable while too many others are."""
        if not self._room.acquire(blocking=False):
            raise _many()
        try:
            if not self._hashing.acquire(timeout=PATIENCE_S):
                raise _many()
            try:
                yield
            finally:
                self._hashing.release()
        finally:
            self._room.release()

    def check_unknown(self, name: str, now_ns: int) -> None:
        """Raises LimitExceeded while a name that nobody has is blocked."""
        with self._lock:
            _, until_ns = self._unknown.get(name, (0, 0))
        check_block(until_ns, now_ns)

    def failed_unknown(self, name: str, now_ns: int) -> None:
        """Notes an attempt with a name that nobody has."""
        with self._lock:
            failures = self._unknown.pop(name, (0, 0))[0] + 1
            self._unknown[name] = failures, blocked_until(failures, now_ns)
            if len(self._unknown) > MOST_UNKNOWN:
                self._unknown.popitem(last=False)


def _many() -> Unavailable:
    return Unavailable("Many people sign in at this moment; try again.", retry_after=1.0)
