"""The controller's side of limits over long windows: leases from the database what this machine's workers may use.

Workers never touch the database. They take units from the machine's counters; where those run low, the word ``demand`` changes, and
the supplier leases more, in one transaction that sees to it that all machines together never hold more than the amount. Raising is
written to the database first and to the counters then, lowering the other way round: a death in between leaves too much claimed,
which the next look corrects, and never too little.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from modelyard.core.clock import Clock
from modelyard.core.limits import LOCAL_WINDOWS, UNIT, Limit, window_bounds
from modelyard.gate.counters import AMOUNT, ELSEWHERE, GRANTED, LIMIT, NEED, REVISION, WINDOW, Counters
from modelyard.gate.lost import settle_lost
from modelyard.store.database import Session, Store
from modelyard.store.leases import Lease
from modelyard.store.settings import STATE

logger = logging.getLogger(__name__)

_LOOK_NS = 500_000_000
"""So often everything is looked at, asked for or not: windows begin, what lies idle goes back, what was spent is told."""
_LEAST = 16
_PART = 64
"""A lease is at least this part of the amount, so that a quiet limit is leased once and not call by call."""
_FORGET_NS = 60_000_000_000
"""A removed limit's counters are kept this long: workers may still act on an older snapshot."""


@dataclass(slots=True)
class _Supplied:
    """What the supplier remembers of one limit."""

    limit: Limit
    base: int
    spent: int = 0
    rate: float = 0.0
    """Units spent between two looks, smoothed."""
    told: tuple[int, int, int] = (0, 0, 0)
    """Window, granted and spent as the database knows them."""


class Supplier:
    """Leases for one machine. Belongs to one thread of the controller, which calls ``tick`` every few dozen milliseconds."""

    def __init__(self, store: Store, counters: Counters, node: str, clock: Clock) -> None:
        self._store, self._counters, self._node, self._clock = store, counters, node, clock
        self._state = -1
        self._demand = -1
        self._look_at = 0
        self._limits: dict[int, _Supplied] = {}
        self._removed: dict[int, int] = {}
        self._lost_settled = False

    def tick(self) -> None:
        """Supplies what was asked for, and now and then everything.

        Raises Unavailable when the database does not answer; what is leased already can be used meanwhile.
        """
        now = self._clock.monotonic_ns()
        demand = self._counters.demand
        full = now >= self._look_at
        if demand == self._demand and not full:
            return
        self._read_limits()
        self._demand = demand
        if full:
            self._counters.reclaim()
            self._forget(now)
        self._supply(full=full)
        if full:
            self._look_at = self._clock.monotonic_ns() + _LOOK_NS

    def folded(self) -> None:
        """Called after the journal was folded: what lost counters of this home had leased can be settled, once."""
        if self._lost_settled:
            return
        with self._store.write() as session:
            settle_lost(session, self._node, self._counters.holder)
        self._lost_settled = True

    def _read_limits(self) -> None:
        with self._store.read() as session:
            state = session.settings.count(STATE)
            if state == self._state:
                return
            found = session.limits.all()
        with self._counters.locked(patient=True):
            self._limits = {limit.id: self._placed(limit) for limit in found if limit.window not in LOCAL_WINDOWS}
        known = {limit.id for limit in found}
        now = self._clock.monotonic_ns()
        self._removed = {gone: self._removed.get(gone, now) for gone in self._counters.places() if gone not in known}
        self._state = state
        self._look_at = 0

    def _placed(self, limit: Limit) -> _Supplied:
        base, words = self._counters.place(limit.id), self._counters.words
        if limit.revision >= words[base + REVISION]:
            words[base + REVISION], words[base + AMOUNT] = limit.revision, limit.amount * UNIT[limit.measure]
        known = self._limits.get(limit.id)
        if known is None:
            return _Supplied(limit, base, spent=self._counters.spent(base))
        known.limit = limit
        return known

    def _forget(self, now: int) -> None:
        for limit_id, since in list(self._removed.items()):
            if now - since >= _FORGET_NS:
                with self._counters.locked(patient=True):
                    base = self._counters.places().get(limit_id)
                    if base is not None and self._counters.words[base + LIMIT] == limit_id:
                        self._counters.clear(base)
                del self._removed[limit_id]

    def _supply(self, *, full: bool) -> None:
        wishes = [wish for supplied in self._limits.values() if (wish := self._wish(supplied, full=full)) is not None]
        if not wishes:
            return
        with self._store.write() as session:
            claimed = [(supplied, *self._claim(session, supplied, wish)) for supplied, wish in wishes]
        words = self._counters.words
        for supplied, made, others in claimed:
            base = supplied.base
            supplied.told = (made.window_ns, made.granted, made.spent)
            with self._counters.locked(patient=True):
                if words[base + WINDOW] == made.window_ns:
                    words[base + ELSEWHERE] = others
                    words[base + GRANTED] = max(words[base + GRANTED], made.granted)
                    words[base + NEED] = 0

    def _wish(self, supplied: _Supplied, *, full: bool) -> tuple[_Supplied, Lease] | None:
        """What to hold of a limit now; None when what is held will do. Lowers what lies idle, in the counters."""
        counters, words, base, limit = self._counters, self._counters.words, supplied.base, supplied.limit
        # A clock that is set back must not bring an old window again.
        start, _ = window_bounds(limit.window, max(self._clock.time_ns(), words[base + WINDOW]))
        if words[base + WINDOW] != start:
            with counters.locked(patient=True):
                counters.begin(base, start, 0)
            supplied.spent, supplied.told = 0, (0, 0, 0)
        spent, need = counters.spent(base), words[base + NEED]
        if full:
            supplied.rate = max(0.0, supplied.rate * 0.5 + (spent - supplied.spent) * 0.5)
            supplied.spent = spent
        amount = words[base + AMOUNT]
        want = max(_LEAST, amount // _PART, need * 4, round(supplied.rate * 4))
        if words[base + ELSEWHERE]:
            left = amount - words[base + ELSEWHERE] - counters.used(base)
            want = max(1, need, min(want, left // 2))
        if full:
            self._lower(supplied, want)
        granted, used = words[base + GRANTED], counters.used(base)
        low = granted - used < max(need, want // 2)
        window, told_granted, told_spent = supplied.told
        news = window != start or told_granted != granted or (full and told_spent != spent)
        # When all is given out, only other machines can free some: looked for while somebody here is refused.
        hope = granted + words[base + ELSEWHERE] < amount or (full and need and words[base + ELSEWHERE])
        if not news and not (low and hope):
            return None
        wish = Lease(
            limit_id=limit.id,
            window_ns=start,
            holder=counters.holder,
            workspace_id=limit.workspace_id,
            node=self._node,
            granted=max(granted, used + want) if low or not granted else granted,
            spent=spent,
        )
        return supplied, wish

    def _lower(self, supplied: _Supplied, want: int) -> None:
        """Gives up what is not needed, or what a lower amount does not allow any more; never what is in workers' hands."""
        counters, words, base = self._counters, self._counters.words, supplied.base
        if words[base + GRANTED] <= min(counters.used(base) + 2 * want, words[base + AMOUNT] - words[base + ELSEWHERE]):
            return
        with counters.locked(patient=True):
            used = counters.used(base)
            allowed = min(used + 2 * want, words[base + AMOUNT] - words[base + ELSEWHERE])
            if words[base + GRANTED] > allowed:
                words[base + GRANTED] = max(used, allowed)

    def _claim(self, session: Session, supplied: _Supplied, wish: Lease) -> tuple[Lease, int]:
        base = supplied.base
        amount = self._counters.words[base + AMOUNT]
        made, others = session.leases.claim(wish, self._counters.words[base + GRANTED], amount)
        if not supplied.told[0]:
            session.leases.forget(wish.limit_id, wish.window_ns)
        return made, others
