"""What the supplier writes to the database, and what it leaves alone."""

import pytest

from gate_machine import Machine, limit
from modelyard.core.limits import Limit, Measure, Scope, Window
from modelyard.gate.counters import Counters
from modelyard.gate.supply import Supplier
from modelyard.store.database import Store


class Watched(Store):
    """A store that counts write transactions."""

    writes = 0

    def write(self):
        self.writes += 1
        return super().write()


@pytest.fixture
def store(tmp_path, clock):
    store = Watched.open(f"sqlite:///{tmp_path / 'x.db'}", clock)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def machine(tmp_path, clock):
    machine = Machine(tmp_path, clock)
    yield machine
    machine.close()


@pytest.fixture
def supplier(tmp_path, machine, store, clock):
    counters = Counters(tmp_path / "limits", capacity=64)
    yield Supplier(store, counters, "node", clock)
    counters.close()


def bind(machine, store, amount=10, window=Window.DAY):
    with store.write() as session:
        made = session.limits.add(
            Limit(id=0, workspace_id=1, scope=Scope.WORKSPACE, measure=Measure.REQUESTS, window=window, amount=amount)
        )
    machine.publish(limit(amount, window=window, id=made.id, scope=Scope.WORKSPACE))
    return made


def look(machine, supplier, clock):
    clock.advance(0.6)
    machine.tick()
    supplier.tick()


def test_nothing_is_written_while_nothing_happens(machine, store, supplier, clock):
    bind(machine, store)
    look(machine, supplier, clock)
    before = store.writes
    for _ in range(10):
        look(machine, supplier, clock)
    assert store.writes == before


def test_a_limit_that_is_used_up_is_not_asked_for_again_and_again(machine, store, supplier, clock):
    bind(machine, store)
    look(machine, supplier, clock)
    assert machine.admitted(30) == 10
    look(machine, supplier, clock)
    before = store.writes
    for _ in range(10):
        assert not machine.call()
        look(machine, supplier, clock)
    assert store.writes == before


def test_short_windows_never_reach_the_database(machine, store, supplier, clock):
    bind(machine, store, window=Window.MINUTE)
    before = store.writes
    for _ in range(5):
        machine.call()
        look(machine, supplier, clock)
    assert store.writes == before


def test_a_removed_limits_cell_is_used_again_only_after_a_while(machine, store, supplier, clock):
    made = bind(machine, store)
    look(machine, supplier, clock)
    with store.write() as session:
        session.limits.remove(1, made.id)
    look(machine, supplier, clock)
    assert made.id in supplier._counters.places()
    clock.advance(120)
    look(machine, supplier, clock)
    assert made.id not in supplier._counters.places()
