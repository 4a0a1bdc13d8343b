"""SQLite and PostgreSQL keep the same promises."""

import pytest

from modelyard.testing.store_contract import StoreContract
from modelyard.testing.store_state_contract import StoreStateContract


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    return request.getfixturevalue(f"{request.param}_url")


class TestRegistryRows(StoreContract):
    pass


class TestStateRows(StoreStateContract):
    pass
