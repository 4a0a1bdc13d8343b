"""Datasets: versioned, content-addressed tables."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, func, insert, select

from modelyard.core.clock import Clock
from modelyard.core.models import Dataset, check_name
from modelyard.store.rows import decode, encode
from modelyard.store.tables import datasets


class DatasetsTable:
    """Rows of ``datasets``; there is no way to change one."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, dataset: Dataset) -> Dataset:
        """Stores a data set under the next number of its name; what was stored, with its id, number and time.

        Raises InvalidRequest when its name is none.
        """
        check_name(dataset.name, "dataset")
        mine = (datasets.c.workspace_id == dataset.workspace_id) & (datasets.c.name == dataset.name)
        number = self._connection.execute(select(func.coalesce(func.max(datasets.c.number), 0)).where(mine)).scalar_one() + 1
        made = msgspec.structs.replace(dataset, number=number, created_ns=dataset.created_ns or self._clock.time_ns())
        values = encode(made)
        identity = self._connection.execute(insert(datasets).values(**values).returning(datasets.c.id)).scalar_one()
        return msgspec.structs.replace(made, id=identity)

    def get(self, workspace_id: int, name: str, number: int | None = None) -> Dataset | None:
        """A version of a data set; the newest when no number is given."""
        query = select(datasets).where(datasets.c.workspace_id == workspace_id, datasets.c.name == name)
        if number is not None:
            query = query.where(datasets.c.number == number)
        return self._one(query.order_by(datasets.c.number.desc()))

    def by_digest(self, workspace_id: int, digest: str) -> Dataset | None:
        """The newest data set with this content."""
        query = select(datasets).where(datasets.c.workspace_id == workspace_id, datasets.c.digest == digest)
        return self._one(query.order_by(datasets.c.id.desc()))

    def list(self, workspace_id: int, name: str = "") -> list[Dataset]:
        """Data sets by name, newest first within each."""
        query = select(datasets).where(datasets.c.workspace_id == workspace_id)
        if name:
            query = query.where(datasets.c.name == name)
        query = query.order_by(datasets.c.name, datasets.c.number.desc())
        return [decode(row, Dataset) for row in self._connection.execute(query).mappings()]

    def digests(self) -> set[str]:
        """Digests of the data sets of every workspace."""
        return set(self._connection.execute(select(datasets.c.digest).distinct()).scalars())

    def _one(self, query: Select[Any]) -> Dataset | None:
        row = self._connection.execute(query.limit(1)).mappings().first()
        return None if row is None else decode(row, Dataset)
