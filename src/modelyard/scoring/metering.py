"""What predictions of files use, counted and limited as calls are: a record for every few thousand rows, reserved before they compute."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from modelyard.core.access import Action, Grant
from modelyard.core.cost import Cost
from modelyard.core.errors import JobFailed, LimitExceeded, ModelyardError
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.counters import Awaited
from modelyard.gate.limiter import Limiter
from modelyard.gate.permit import Permit
from modelyard.store.snapshot import SnapshotReader

_LONGEST_WAIT_S = 900.0
"""For a limit's next window; what comes later is left to whoever resumes the job."""
_LEAST_PAUSE_S = 0.02
_MOST_PAUSE_S = 5.0
_DONE, _REFUSED, _FAILED = 200, 429, 500
Answer = TypeVar("Answer")


class Meter(Protocol):
    """Counts what is computed."""

    def computed(self, rows: int, compute: Callable[[], Answer]) -> Answer:
        """What ``compute`` gives for so many rows, reserved before and recorded after. Safe to call from several threads."""


@dataclass(frozen=True)
class Payer:
    """Who answers for a file, and what it is counted to."""

    grant: Grant
    deployment: str
    """Empty where a version answers that nobody named a deployment for."""
    version_id: int


class Metered:
    """Through the gate, in the name of whoever started the job. Its gate, limiter and snapshot belong to it alone.

    A limit that is used up makes the work wait for the next window, or ends it with the sentence that a caller would get.
    """

    def __init__(self, gate: Gate, limiter: Limiter, holder: SnapshotHolder, reader: SnapshotReader, payer: Payer) -> None:
        self._gate, self._limiter, self._holder, self._reader, self._payer = gate, limiter, holder, reader, payer
        self._lock = threading.Lock()

    def computed(self, rows: int, compute: Callable[[], Answer]) -> Answer:
        """Raises JobFailed when a limit does not let it go on, and what the gate raises."""
        permit = self._admitted()
        cost = Cost(rows=rows, version_id=self._payer.version_id)
        status = _REFUSED
        began = time.perf_counter_ns()
        try:
            self._patiently(lambda: permit.expect(cost, 0))
            status, began = _FAILED, time.perf_counter_ns()
            found = compute()
            status = _DONE
        finally:
            used = cost if status == _DONE else Cost(version_id=self._payer.version_id)
            used.compute_us = (time.perf_counter_ns() - began) // 1_000 if status != _REFUSED else 0
            with self._lock:
                permit.settle(status, used, ProtocolId.OTHER, CallKind.INFER, 0, 0)
                self._limiter.tick()
        return found

    def _admitted(self) -> Permit:
        payer = self._payer

        def admit() -> Permit:
            if self._reader.number != self._holder.current.number:
                self._holder.current = self._reader.load()
            return self._gate.admit(payer.grant, Action.INFER, payer.deployment or None, os.urandom(16), CallKind.INFER)

        return self._patiently(admit)

    def _patiently(self, act: Callable[[], Answer]) -> Answer:
        """Tries until a limit lets it through, as long as that is worth waiting for."""
        until = time.monotonic() + _LONGEST_WAIT_S
        while True:
            try:
                with self._lock:
                    return act()
            except (LimitExceeded, Awaited) as error:
                refusal: ModelyardError = error.instead if isinstance(error, Awaited) else error
                wait = error.retry_after
                if wait is None or time.monotonic() + wait > until:
                    raise JobFailed(f"{refusal.message} What is answered already is kept: resume the job when the limit allows.") from error
            with self._lock:
                self._limiter.tick()
            time.sleep(min(max(wait, _LEAST_PAUSE_S), _MOST_PAUSE_S))
