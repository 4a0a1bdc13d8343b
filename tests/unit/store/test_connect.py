import pytest

from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.store.connect import create_store_engine
from modelyard.store.database import Store


@pytest.mark.parametrize("url", ["", "penguins", "sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "http://x"])
def test_only_databases_with_a_place_are_opened(url):
    with pytest.raises(InvalidRequest):
        create_store_engine(url)


def test_opening_neither_connects_nor_creates(tmp_path):
    Store.open(f"sqlite:///{tmp_path / 'x.db'}").close()
    Store.open("postgresql://nobody@127.0.0.1:1/none").close()
    assert list(tmp_path.iterdir()) == []


def test_sqlite_is_durable_and_checks_references(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    with store.write() as session:
        say = {
            name: session.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    store.close()
    assert say == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}


def test_a_database_that_is_away_is_unavailable():
    store = Store.open("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as caught, store.read():
        pass
    assert caught.value.__cause__ is not None
    store.close()


def test_a_folder_that_is_missing_is_unavailable(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")
    with pytest.raises(Unavailable), store.read():
        pass
    store.close()
