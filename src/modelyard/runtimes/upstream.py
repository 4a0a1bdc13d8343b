"""Which of several endpoints a call goes to, and whether it may try again: circuit breakers, a budget of retries, backoff."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
RESERVE = 10.0
"""Retries that few calls may make, whatever their share."""


@dataclass(slots=True)
class Breaker:
    """Leaves an endpoint alone that fails again and again, and lets one call try it after a while."""

    failures_allowed: int
    open_seconds: float
    failures: int = 0
    opened_at: float = 0.0
    trying: bool = False

    def allows(self, now: float) -> bool:
        """Whether a call may go there; the first one after the pause is the trial, and the others go on leaving it alone."""
        if self.failures < self.failures_allowed:
            return True
        if self.trying or now - self.opened_at < self.open_seconds:
            return False
        self.trying = True
        return True

    def succeeded(self) -> None:
        self.failures, self.trying = 0, False

    def failed(self, now: float) -> None:
        self.failures, self.trying, self.opened_at = self.failures + 1, False, now


class Upstream:
    """The state that calls share. Belongs to one event loop."""

    def __init__(self, breakers: Sequence[Breaker], budget: float, clock: Callable[[], float]) -> None:
        self.breakers = tuple(breakers)
        self._share, self._clock = budget, clock
        self._tokens = RESERVE

    def called(self) -> None:
        """A new call adds its share to the budget."""
        self._tokens = min(self._tokens + self._share, RESERVE * 10)

    def may_retry(self) -> bool:
        """Takes a retry from the budget."""
        if self._share == 0 or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def order(self) -> Iterator[int]:
        """Endpoints that may be tried, again and again in their order; ends when none may."""
        while True:
            found = False
            for at, breaker in enumerate(self.breakers):
                if breaker.allows(self._clock()):
                    found = True
                    yield at
            if not found:
                return


def backoff(attempt: int, told: float | None = None) -> float:
    """Seconds to wait before the ``attempt``-th retry (from 0), some of it by chance; what an endpoint ``told`` counts, within bounds."""
    if told is not None:
        return min(max(told, 0.0), LAST_BACKOFF_S)
    most: float = min(FIRST_BACKOFF_S * 2**attempt, LAST_BACKOFF_S)
    return most * (0.5 + random.random() / 2)  # noqa: S311  # only spreads retries
