"""Time as a dependency, so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where components read the time. Implementations never go back for ``monotonic_ns``."""

    def time_ns(self) -> int:
        """Wall-clock nanoseconds since the epoch (UTC)."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; only differences mean anything."""


class SystemClock:
    """The machine's own clocks."""

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


class ManualClock:
    """A clock that stands still until it is told to advance."""

    def __init__(self, at_ns: int = 1_800_000_000_000_000_000) -> None:
        self._time, self._monotonic = at_ns, 0

    def time_ns(self) -> int:
        return self._time

    def monotonic_ns(self) -> int:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward."""
        step = int(seconds * 1e9)
        self._time += step
        self._monotonic += step

    def set_back(self, seconds: float) -> None:
        """Moves the wall clock back, as an administrator or NTP may; the monotonic one goes on."""
        self._time -= int(seconds * 1e9)
