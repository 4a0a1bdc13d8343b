"""One limit as one worker counts it: a small lease of units from the machine's counters, spent without any lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from modelyard.core.errors import LimitExceeded, ModelyardError, Unavailable
from modelyard.core.limits import LOCAL_WINDOWS, SHORT_NS, UNIT, Measure, ServedLimit, Standing, Window, window_bounds
from modelyard.gate.counters import AMOUNT, ELSEWHERE, GRANTED, NEED, RECALL, REVISION, SPENT, TAKEN, WINDOW, Awaited, Counters

FOREVER: Final = 1 << 62
_FAST_NS: Final = 25_000_000
"""A lease that lasts less than this doubles the next one."""
_LARGEST: Final = 4096
"""Calls that one lease may last for."""
_SHARES: Final = 2
"""Near the limit no process takes more than this part of what it would get if all shared it."""
_SOON: Final = 1.0


class Lease:
    """Units of one window in this process's hands. May be below nothing after calls that cost more than they had reserved."""

    __slots__ = ("available", "meter", "until", "window")

    def __init__(self, meter: Meter, window: int, until: int) -> None:
        self.meter, self.window, self.until = meter, window, until
        self.available = 0


class Meter:
    """A limit's counting in one process. Belongs to the event loop."""

    __slots__ = (
        "_chunk",
        "_counters",
        "_drawn_ns",
        "_seen",
        "_spent",
        "_spent_at",
        "_time_ns",
        "_words",
        "base",
        "keep",
        "lease",
        "left",
        "limit",
        "returns",
        "whole",
        "window_at",
    )

    def __init__(self, limit: ServedLimit, counters: Counters, time_ns: Callable[[], int]) -> None:
        self._counters, self._words, self._time_ns = counters, counters.words, time_ns
        with counters.locked():
            self.base = base = counters.place(limit.id)
        self.window_at = base + WINDOW
        self._spent_at = base + SPENT + counters.seat
        self.returns = limit.measure is Measure.CONCURRENT
        """Whether units come back when a call ends."""
        self.keep = 0
        """Units of concurrent calls to keep at hand for the next one; few, or others would wait for them."""
        self.left = 0
        """What nobody had in hands when this process last looked."""
        self.lease = Lease(self, -1, 0)
        self._chunk, self._drawn_ns, self._seen, self._spent = 1, 0, 0, 0
        self.change(limit)

    def change(self, limit: ServedLimit) -> None:
        """Takes over a changed amount. A snapshot that is older than what is counted by already changes nothing."""
        self.limit, self.whole = limit, limit.counted
        self.keep = min(16, limit.counted // (8 * self._counters.seats))
        words, base = self._counters.words, self.base
        with self._counters.locked():
            if limit.revision < words[base + REVISION]:
                return
            words[base + REVISION], words[base + AMOUNT] = limit.revision, limit.counted
            if limit.window in LOCAL_WINDOWS:
                words[base + GRANTED] = limit.counted

    def count(self, units: int) -> None:
        """Counts units as spent in the window of the lease, which the caller has seen to be the counters' still.

        Nobody else writes that word while the window is the same, so it need not be read.
        """
        self._spent = spent = self._spent + units
        self._words[self._spent_at] = spent

    def count_now(self, units: int) -> None:
        """The same in whichever window the counters are."""
        self._words[self._spent_at] = self._spent = self._words[self._spent_at] + units

    def draw(self, need: int, now: int) -> Lease:
        """A lease with at least ``need`` available (of monotonic time ``now``).

        Raises LimitExceeded when the limit is used up, Awaited when units may come soon.
        """
        with self._counters.locked():
            lease = self._current(now)
            short = need - lease.available
            if short > 0:
                self._take(lease, short, need, now)
        return lease

    def give_back(self) -> None:
        """Puts what this process does not use where others find it."""
        lease, words = self.lease, self._counters.words
        if lease.available <= 0:
            return
        with self._counters.locked():
            if words[self.window_at] == lease.window:
                words[self.base + TAKEN + self._counters.seat] -= lease.available
            lease.available = 0
            words[self.base + RECALL] = 0

    def rest(self, now: int) -> bool:
        """Called now and then: gives back what was not used since the last time or what others wait for; whether anything is left."""
        lease = self.lease
        if lease.available > 0 and (lease.available == self._seen or self._counters.words[self.base + RECALL]):
            if not self._counters.words[self.base + RECALL]:
                self._chunk = max(1, self._chunk // 2)
            self.give_back()
        self._seen = lease.available
        self.left = self._room()
        return lease.available > 0 and lease.until > now

    def standing(self, now: int) -> Standing:
        """Where callers stand, as far as this process knows."""
        limit, lease = self.limit, self.lease
        until = -1.0 if lease.until >= FOREVER else max(0, lease.until - now) / 1e9
        remaining = max(0, min(self.whole, self.left + lease.available))
        return Standing(measure=limit.measure, amount=limit.amount, remaining=remaining // UNIT[limit.measure], reset_seconds=until)

    def _current(self, now: int) -> Lease:
        """The lease of the window that is now; with the lock held."""
        lease, words, limit = self.lease, self._counters.words, self.limit
        window, until = words[self.window_at], FOREVER
        length = SHORT_NS.get(limit.window)
        if length is not None:
            # The machine's monotonic time: no window comes twice when the clock is set back.
            start = now // length * length
            if window < start:
                self._counters.begin(self.base, start or 1, words[self.base + AMOUNT])
                window = start or 1
            until = window + length
        elif limit.window is Window.NONE:
            if not window:
                self._counters.begin(self.base, 1, words[self.base + AMOUNT])
                window = 1
        elif limit.window is not Window.TOTAL and window:
            until = now + window_bounds(limit.window, window)[1] - self._time_ns()
        if lease.window == window:
            lease.until = until
            return lease
        if length is None and limit.window is not Window.NONE and (not window or until <= now):
            # Only the controller begins these; it does so within moments.
            self._counters.ask(self.base, 1)
            raise Awaited(Unavailable(f"The limit of {limit.text} cannot be looked up now; try again.", retry_after=_SOON))
        mine = self.base + TAKEN + self._counters.seat
        words[mine] = self._spent = words[self._spent_at]
        self.lease = lease = Lease(self, window, until)
        self._seen = 0  # the chunk stays: the rate of a new window is mostly that of the last
        return lease

    def _take(self, lease: Lease, short: int, need: int, now: int) -> None:
        counters, words, base = self._counters, self._counters.words, self.base
        if lease.until <= now:
            counters.ask(base, need)
            raise Awaited(Unavailable(f"The limit of {self.limit.text} cannot be looked up now; try again.", retry_after=_SOON))
        stock = words[base + GRANTED] - counters.used(base)
        mine = base + TAKEN + counters.seat
        # What was overspent counts as used already: taking it up costs nothing more.
        debt = max(0, words[self._spent_at] - words[mine])
        if stock < short - debt:
            raise self._refusal(need, now)
        self._chunk = min(_LARGEST, self._chunk * 2) if now - self._drawn_ns < _FAST_NS else max(1, self._chunk // 2)
        self._drawn_ns = now
        amount = max(short, debt + min(need * self._chunk, stock // (_SHARES * counters.seats)))
        words[mine] += amount
        lease.available += amount
        self.left = self._room()
        if self.left and stock - amount < 2 * amount and self.limit.window not in LOCAL_WINDOWS:
            counters.ask(base, need)

    def _room(self) -> int:
        """What nobody has in hands, here or elsewhere."""
        words, base = self._counters.words, self.base
        return max(0, words[base + AMOUNT] - words[base + ELSEWHERE] - self._counters.used(base))

    def _refusal(self, need: int, now: int) -> ModelyardError:
        """Why there is not enough; with the lock held."""
        counters, words, base, limit, lease = self._counters, self._counters.words, self.base, self.limit, self.lease
        if limit.window not in LOCAL_WINDOWS and words[base + AMOUNT] - words[base + ELSEWHERE] > words[base + GRANTED]:
            counters.ask(base, need)
            return Awaited(Unavailable(f"More of the limit of {limit.text} is on its way; try again.", retry_after=_SOON))
        spent = counters.spent(base) + words[base + ELSEWHERE]
        held = max(0, counters.used(base) - counters.spent(base))
        mine = words[base + TAKEN + counters.seat] - words[self._spent_at]
        self.left = 0
        if words[base + ELSEWHERE]:
            words[base + NEED] = max(need, words[base + NEED])
        over = (lease.until - now) / 1e9 if lease.until < FOREVER else None
        waits = _SOON if held or limit.window is Window.NONE else None
        wait = over if waits is None else waits if over is None else min(waits, over)
        error = LimitExceeded(
            f"The limit of {limit.text} is used up: {_shown(spent, limit)} spent, {_shown(held, limit)} reserved"
            + (f"; try again in {max(1, round(wait))} s." if wait is not None else "; ask for a higher one."),
            retry_after=wait,
        )
        error.standings = (self.standing(now),)
        if held > max(0, mine):
            words[base + RECALL] = 1
            return Awaited(error)
        return error


def _shown(count: int, limit: ServedLimit) -> str:
    return f"{count / 1e6:g}" if limit.measure is Measure.MONEY else str(count // UNIT[limit.measure])
