"""SQLite and PostgreSQL keep the same promises."""

import pytest

from modelyard.core.errors import Unavailable
from modelyard.store.database import Store
from modelyard.testing.store_access_contract import StoreAccessContract
from modelyard.testing.store_contract import StoreContract
from modelyard.testing.store_limits_contract import StoreLimitsContract
from modelyard.testing.store_state_contract import StoreStateContract


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    return request.getfixturevalue(f"{request.param}_url")


def test_a_writer_does_not_wait_for_ever_for_another_process(database_url, monkeypatch):
    for place in ("connect", "database"):
        monkeypatch.setattr(f"modelyard.store.{place}.BUSY_SECONDS", 0.1)
    mine, theirs = Store.open(database_url), Store.open(database_url)
    mine.migrate()
    with theirs.write(), pytest.raises(Unavailable) as caught, mine.write():
        pass
    assert caught.value.retry_after
    with mine.write() as session:
        assert session.settings.bump("n") == 1
    for store in (mine, theirs):
        store.close()


class TestRegistryRows(StoreContract):
    pass


class TestStateRows(StoreStateContract):
    pass


class TestLimitRows(StoreLimitsContract):
    pass


class TestAccessRows(StoreAccessContract):
    pass
