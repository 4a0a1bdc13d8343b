"""Where the time of a call goes, measured on one call in many: all others pay for none of it.

A measured call is of a class of its own, which notes the time at the seams that every call passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.core.exchange import Headers
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.protocols.call import Call
from modelyard.protocols.routing import Body, Reply

EVERY = 64
"""One call of so many is measured; a power of two."""
STAGES = ("gate", "decode", "queue", "compute", "encode")
Observe = Callable[[str, dict[str, float]], None]
"""Takes the deployment of a measured prediction and seconds by stage."""


class StagedCall(Call):
    """A call that is measured; ``observe`` is set on a subclass by ``measuring``."""

    __slots__ = ("_body", "_decoded_ns", "_gated_ns", "_inferred_ns")
    observe: Observe

    def __init__(self, *arguments: Any) -> None:
        self._gated_ns = self._decoded_ns = self._inferred_ns = 0
        super().__init__(*arguments)

    @property
    def body(self) -> bytes:
        """The request's body with its content coding removed."""
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body, self._gated_ns = body, time.monotonic_ns()

    def infer(self, request: InferRequest, encode: Callable[[InferResponse], Reply]) -> None:
        self._decoded_ns = time.monotonic_ns()
        super().infer(request, encode)

    def _inferred(self, outcome: InferResponse | ModelyardError) -> None:
        self._inferred_ns = time.monotonic_ns()
        super()._inferred(outcome)

    def reply(self, status: int, headers: Headers, body: Body) -> None:
        super().reply(status, headers, body)
        if status == 200 and self._inferred_ns:
            cost = self.cost
            seconds = {
                "gate": (self._gated_ns - self.exchange.received_ns) / 1e9,
                "decode": (self._decoded_ns - self._gated_ns) / 1e9,
                "queue": cost.queue_us / 1e6,
                "compute": cost.compute_us / 1e6,
                "encode": (time.monotonic_ns() - self._inferred_ns) / 1e9,
            }
            type(self).observe(self.params.get("name", ""), seconds)


def measuring(observe: Observe) -> type[StagedCall]:
    """The class of calls that are measured for ``observe``."""
    return type("MeasuredCall", (StagedCall,), {"__slots__": (), "observe": staticmethod(observe)})
