"""Leases: which machine holds how much of a limit's amount in a window. The sum never exceeds the amount."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from modelyard.core.clock import Clock
from modelyard.store.rows import decode
from modelyard.store.tables import leases


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine holds of one window."""

    limit_id: int
    window_ns: int
    """When the window began."""
    holder: str
    """A machine's counters; others than before when those were lost."""
    workspace_id: int
    node: str
    """The home that the holder belongs to."""
    granted: int = 0
    """What it may have used at most; never less than what it has."""
    spent: int = 0
    """What it had used when it last told."""
    updated_ns: int = 0


Leases = list[Lease]


class LeasesTable:
    """Rows of ``leases``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def claim(self, wish: Lease, least: int, amount: int) -> tuple[Lease, int]:
        """Gives a holder ``wish.granted`` or as much of it as the others leave of ``amount``, but never less than ``least``, which it
        has used already; the lease as it stands then, and what all others hold.

        Only inside a write transaction, which makes reading and writing one step.
        """
        where = (leases.c.limit_id == wish.limit_id) & (leases.c.window_ns == wish.window_ns)
        others = self._connection.execute(
            select(func.coalesce(func.sum(leases.c.granted), 0)).where(where, leases.c.holder != wish.holder)
        ).scalar_one()
        others = int(others)
        granted = max(least, min(wish.granted, amount - others))
        made = msgspec.structs.replace(wish, granted=granted, updated_ns=self._clock.time_ns())
        values = msgspec.structs.asdict(made)
        if not self._connection.execute(update(leases).where(where, leases.c.holder == wish.holder).values(**values)).rowcount:
            self._connection.execute(insert(leases).values(**values))
        return made, others

    def list(self, limit_id: int, window_ns: int) -> Leases:
        """Who holds what of a window, by holder."""
        query = select(leases).where(leases.c.limit_id == limit_id, leases.c.window_ns == window_ns).order_by(leases.c.holder)
        return [decode(row, Lease) for row in self._connection.execute(query).mappings()]

    def stranded(self, node: str, holder: str) -> Leases:
        """Leases of a node's counters that are lost: all but those of ``holder``."""
        query = select(leases).where(leases.c.node == node, leases.c.holder != holder, leases.c.granted > leases.c.spent)
        return [decode(row, Lease) for row in self._connection.execute(query.order_by(leases.c.limit_id)).mappings()]

    def close(self, lease: Lease, spent: int) -> None:
        """Settles a lost holder's lease: what it has not used goes back."""
        where = (leases.c.limit_id == lease.limit_id) & (leases.c.window_ns == lease.window_ns) & (leases.c.holder == lease.holder)
        values = {"granted": spent, "spent": spent, "updated_ns": self._clock.time_ns()}
        self._connection.execute(update(leases).where(where).values(**values))

    def forget(self, limit_id: int, before_window_ns: int) -> None:
        """Drops leases of windows that began before ``before_window_ns``: they bind nobody any more."""
        self._connection.execute(delete(leases).where(leases.c.limit_id == limit_id, leases.c.window_ns < before_window_ns))
