"""Calls of one version that wait a moment for others, so that they are computed together, where a deployment's policy says so.

Without it nobody waits: what has come by the end of a loop's turn is computed, and load makes runs larger by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.errors import ModelyardError
from modelyard.core.policy import Batching
from modelyard.serving.batching import Batcher
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Submit
from modelyard.serving.tallies import Later


class Gathering:
    """Stands before a version until ``release``, which lets everybody through. Belongs to the event loop."""

    def __init__(self, wanted: Batching, batcher: Batcher, later: Later) -> None:
        self._wanted, self._batcher, self._later = wanted, batcher, later
        self._usual = batcher.most_rows
        batcher.most_rows = wanted.max_rows or self._usual
        self._held: list[tuple[Waiting, Submit]] = []
        self._rows = 0
        self._round = 0
        """A timer that was set for calls which have left by now does nothing."""

    def before(self, submit: Submit) -> Submit:
        """``submit``, for calls that wait until there are enough of them, or for the delay."""
        if not self._wanted.delay_ms:
            return submit

        def gathered(call: Waiting) -> None:
            self._held.append((call, submit))
            self._rows += call.rows
            if self._rows >= self._batcher.most_rows:
                self._let_through()
            elif len(self._held) == 1:
                self._later(self._wanted.delay_ms / 1000, self._due(self._round))

        return gathered

    def release(self) -> None:
        """Lets those who wait through, and gives the version its usual size of runs back."""
        self._let_through()
        self._batcher.most_rows = self._usual

    def _due(self, number: int) -> Callable[[], None]:
        def due() -> None:
            if number == self._round:
                self._let_through()

        return due

    def _let_through(self) -> None:
        held, self._held, self._rows = self._held, [], 0
        self._round += 1
        for call, submit in held:
            try:
                submit(call)
            except ModelyardError as error:
                call.statistics.failure(0)
                call.done(error)
