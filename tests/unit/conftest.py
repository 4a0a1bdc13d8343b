"""What tests of many rooms begin with: a database of their own, and a clock that stands still until it is moved."""

import pytest

from modelyard.core.clock import ManualClock
from modelyard.store.database import Store


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store.open(f"sqlite:///{tmp_path / 'test.db'}", clock)
    store.migrate()
    yield store
    store.close()
