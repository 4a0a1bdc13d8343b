"""A database of its own for each test of a contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.core.clock import ManualClock
from modelyard.store.database import Session, Store


class FreshStore:
    """Subclasses provide the fixture ``database_url``: of an empty database."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def store(self, database_url: str, clock: ManualClock) -> Iterator[Store]:
        store = Store.open(database_url, clock)
        store.migrate()
        yield store
        store.close()

    @pytest.fixture
    def session(self, store: Store) -> Iterator[Session]:
        """Of one write transaction over the whole test."""
        with store.write() as session:
            yield session
