"""Where the time of a call goes, measured on one call in many: all others pay for none of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from modelyard.core.cost import Cost

EVERY: Final = 64
"""One call of so many is measured; a power of two."""
STAGES: Final = ("gate", "decode", "queue", "compute", "encode")
Observe = Callable[[str, dict[str, float]], None]
"""Takes the deployment of a measured prediction and seconds by stage."""


class Stages:
    """The times at which one call passed the seams that every call passes; see ``protocols.call.Stopwatch``."""

    __slots__ = ("_decoded_ns", "_gated_ns", "_inferred_ns", "_observe")

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._gated_ns = self._decoded_ns = self._inferred_ns = 0

    def gated(self) -> None:
        self._gated_ns = time.monotonic_ns()

    def decoded(self) -> None:
        self._decoded_ns = time.monotonic_ns()

    def inferred(self) -> None:
        self._inferred_ns = time.monotonic_ns()

    def answered(self, deployment: str, received_ns: int, cost: Cost) -> None:
        if not self._inferred_ns:
            return
        seconds = {
            "gate": (self._gated_ns - received_ns) / 1e9,
            "decode": (self._decoded_ns - self._gated_ns) / 1e9,
            "queue": cost.queue_us / 1e6,
            "compute": cost.compute_us / 1e6,
            "encode": (time.monotonic_ns() - self._inferred_ns) / 1e9,
        }
        self._observe(deployment, seconds)
