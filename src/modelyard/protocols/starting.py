"""What a call that waits for a replica to start tells its client: how long it waited and, where it asks, how far the start is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from modelyard.core.errors import InvalidRequest
from modelyard.protocols.context import Context

if TYPE_CHECKING:
    from modelyard.protocols.call import Call
    from modelyard.serving.dataplane import Starting

ASKED, PROGRESS = b"x-modelyard-progress", b"x-modelyard-progress"
"""A request asks with seconds, every so often; interim answers tell with a word and the seconds so far."""
COLD = b"x-modelyard-cold-start-ms"
_SHORTEST_S, _LONGEST_S = 0.1, 60.0


class Start:
    """The start that one call waits for."""

    def __init__(self, starting: Starting) -> None:
        self._starting = starting
        self._began_ns = time.monotonic_ns()

    @property
    def over(self) -> bool:
        """Whether a replica has become ready since."""
        return self._starting.ready_ns > self._began_ns

    @property
    def waited_ns(self) -> int:
        return (self._starting.ready_ns if self.over else time.monotonic_ns()) - self._began_ns

    def fields(self) -> list[tuple[bytes, bytes]]:
        """What the answer says of it."""
        return [(COLD, b"%d" % (self.waited_ns // 1_000_000))]

    def progress(self) -> tuple[tuple[bytes, bytes]]:
        """How far it is."""
        return ((PROGRESS, b"%b; waited=%.1f" % (self._starting.stage.encode(), self.waited_ns / 1e9)),)


def follow_start(call: Call) -> None:
    """Has a call whose version has no replica ready tell of it; nothing happens to others. Raises InvalidRequest."""
    starting = call.plane.awaited(call.grant.workspace_id, call.params["name"], call.params.get("version", ""))
    if starting is None:
        return
    start = Start(starting)
    if call.context is None:
        call.context = Context()
    call.context.start = start
    asked = call.header(ASKED)
    if asked is not None:
        _tell(call, start, _seconds(asked), asyncio.get_running_loop())


def _tell(call: Call, start: Start, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    if call.answered or call.exchange.aborted is not None or start.over:
        return
    call.exchange.inform(start.progress())
    loop.call_later(seconds, _tell, call, start, seconds, loop)


def _seconds(value: bytes) -> float:
    text = value.decode("latin-1").strip()
    seconds = float(text) if text.replace(".", "", 1).isdigit() and text.isascii() else 0.0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise InvalidRequest(f"X-Modelyard-Progress is {text[:32]!r}; write how often to tell of a start, in seconds from 0.1 to 60.")
    return seconds
