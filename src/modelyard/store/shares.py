"""Shares: which workspaces may call a deployment that is not theirs."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import NotFound
from modelyard.core.shares import Share
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import shares

Shares = list[Share]


class SharesTable:
    """Rows of ``shares``. One that has ended stays, and holds again when the same is shared anew."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, share: Share) -> Share:
        """Stores a share, or lets one of the same deployment and borrower hold again; as it is stored now."""
        made = msgspec.structs.replace(share, created_ns=self._clock.time_ns(), ended_ns=0)
        same = (shares.c.deployment_id == share.deployment_id) & (shares.c.borrower_id == share.borrower_id)
        identity = self._connection.execute(update(shares).where(same).values(**encode(made)).returning(shares.c.id)).scalar()
        if identity is None:
            identity = self._connection.execute(insert(shares).values(**encode(made)).returning(shares.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(made, id=identity)

    def find(self, workspace_id: int, deployment: str, borrower_id: int) -> Share | None:
        """The share that holds now of an owner's deployment with a borrower."""
        where = (shares.c.workspace_id == workspace_id) & (shares.c.deployment == deployment) & (shares.c.borrower_id == borrower_id)
        return next(iter(self._read(where, shares.c.ended_ns == 0)), None)

    def given(self, workspace_id: int) -> Shares:
        """Shares that hold of a workspace's deployments, by the borrowers' names for them."""
        return self._read(shares.c.workspace_id == workspace_id, shares.c.ended_ns == 0)

    def received(self, borrower_id: int) -> Shares:
        """Shares that hold with a workspace, by its names for them."""
        return self._read(shares.c.borrower_id == borrower_id, shares.c.ended_ns == 0)

    def ever_given(self, workspace_id: int) -> Shares:
        """Shares of a workspace's deployments, ended ones too."""
        return self._read(shares.c.workspace_id == workspace_id)

    def ever_received(self, borrower_id: int) -> Shares:
        """Shares with a workspace, ended ones too."""
        return self._read(shares.c.borrower_id == borrower_id)

    def names(self, borrower_id: int) -> dict[int, str]:
        """What a workspace calls, and called, deployments that are not its own, by their ids."""
        rows = self._connection.execute(select(shares.c.deployment_id, shares.c.name).where(shares.c.borrower_id == borrower_id))
        return {row.deployment_id: row.name for row in rows}

    def all(self) -> Shares:
        """Shares that hold, of every workspace."""
        return self._read(shares.c.ended_ns == 0)

    def end(self, share: Share) -> Share:
        """Ends a share; as it is stored now.

        Raises NotFound when it has ended already.
        """
        ended = self._clock.time_ns()
        where = (shares.c.id == share.id) & (shares.c.ended_ns == 0)
        if not self._connection.execute(update(shares).where(where).values(ended_ns=ended)).rowcount:
            raise NotFound(f"{share.name!r} is not shared any more.")
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(share, ended_ns=ended)

    def _read(self, *where: ColumnElement[bool]) -> Shares:
        query = select(shares).where(*where).order_by(shares.c.name, shares.c.id)
        return [decode(row, Share) for row in self._connection.execute(query).mappings()]
