"""Where calls wait for units of a limit that may come within moments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modelyard.gate.counters import Awaited
from modelyard.gate.permit import AGAIN_S, PATIENCE_NS

if TYPE_CHECKING:
    from modelyard.protocols.call import Call

Later = Callable[..., object]
"""``loop.call_later``: seconds, a callable, its arguments."""
_MOST = 128


class WaitingRoom:
    """Has calls try again, for a while and not too many at once; without ``later`` none may wait."""

    __slots__ = ("_later", "_waiting")

    def __init__(self, later: Later | None) -> None:
        self._later = later
        self._waiting = 0

    def wait(self, call: Call, error: Awaited, step: Callable[..., None], *arguments: Any) -> None:
        """Runs ``step`` again in a moment; raises what the caller is told when there is no more waiting."""
        now = time.monotonic_ns()
        call.waits_until_ns = call.waits_until_ns or now + PATIENCE_NS
        if self._later is None or self._waiting >= _MOST or now >= call.waits_until_ns or call.exchange.aborted is not None:
            raise error.instead
        self._waiting += 1
        self._later(AGAIN_S, self._again, call, step, arguments)

    def _again(self, call: Call, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._waiting -= 1
        call.guard(step, *arguments)
