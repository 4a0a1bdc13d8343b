"""Prices: added, never changed, so that what was billed can always be explained."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, insert, select

from modelyard.core.clock import Clock
from modelyard.core.prices import Price
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import prices

Prices = list[Price]


class PricesTable:
    """Rows of ``prices``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, price: Price) -> Price:
        """Stores a price; the same with its id and time."""
        made = msgspec.structs.replace(price, created_ns=self._clock.time_ns())
        identity = self._connection.execute(insert(prices).values(**encode(made)).returning(prices.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(made, id=identity)

    def list(self, workspace_id: int) -> Prices:
        """Prices of a workspace, past and to come, in the order in which they take effect; of two at one time the newer comes later."""
        query = select(prices).where(prices.c.workspace_id == workspace_id)
        return self._load(query.order_by(prices.c.deployment, prices.c.effective_ns, prices.c.id))

    def all(self) -> Prices:
        """Prices of every workspace, in the order in which they take effect."""
        return self._load(select(prices).order_by(prices.c.effective_ns, prices.c.id))

    def _load(self, query: Select[Any]) -> Prices:
        return [decode(row, Price) for row in self._connection.execute(query).mappings()]
