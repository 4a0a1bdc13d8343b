"""Limits over long windows, with the real supplier on every database: what all machines use never exceeds the amount."""

import msgspec
import pytest

from gate_machine import Machine, limit
from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.errors import LimitExceeded, Unavailable
from modelyard.core.limits import MOST, UNIT, Limit, Measure, Scope, Window
from modelyard.core.prices import Price
from modelyard.core.usage import CallKind
from modelyard.gate.supply import Supplier
from modelyard.store.database import Store
from modelyard.store.usage import UsageMinute

START = 1_800_000_000 * 10**9


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(database_url, clock):
    store = Store.open(database_url, clock)
    store.migrate()
    yield store
    store.close()


class Node(Machine):
    """A machine with its controller's supplier."""

    def __init__(self, folder, clock, store, name="node", workers=2):
        super().__init__(folder, clock, workers)
        self.store, self.name = store, name
        self.supplier = Supplier(store, self.workers[0]._counters, name, clock)

    def tick(self):
        super().tick()
        self.supplier.tick()

    def look(self):
        """The controller's whole look, which comes twice a second."""
        self.clock.advance(0.6)
        self.tick()

    def leases(self):
        with self.store.read() as session:
            rows = session.limits.all()
            return [lease for row in rows for lease in session.leases.list(row.id, self.window())]

    def window(self):
        return self.workers[0].words[self.workers[0]._counters.places()[1] + 2]


@pytest.fixture
def node(tmp_path, clock, store):
    node = Node(tmp_path / "one", clock, store)
    yield node
    node.close()


def stored(store, amount, measure=Measure.REQUESTS, window=Window.DAY, currency=""):
    """A limit in the database, and as workers see it."""
    with store.write() as session:
        made = session.limits.add(
            Limit(id=0, workspace_id=1, scope=Scope.WORKSPACE, measure=measure, window=window, amount=amount, currency=currency)
        )
    return limit(amount, measure, window, id=made.id, scope=Scope.WORKSPACE, currency=currency)


def change(store, found, amount):
    with store.write() as session:
        made = session.limits.change(1, found.id, amount, found.revision)
    return msgspec.structs.replace(found, amount=amount, revision=made.revision)


@pytest.mark.parametrize("window", [Window.HOUR, Window.DAY, Window.MONTH, Window.TOTAL])
@pytest.mark.parametrize("amount", [1, 100])
def test_exactly_the_amount_is_admitted(node, store, window, amount):
    node.publish(stored(store, amount, window=window))
    node.tick()
    assert node.admitted(2 * amount + 30) == amount
    with pytest.raises(LimitExceeded):
        node.reserve()


def test_a_limit_that_is_busy_gets_larger_leases_and_one_that_is_idle_gives_them_back(node, store):
    node.publish(stored(store, 1_000_000))
    node.look()
    (before,) = node.leases()
    for _ in range(6):
        assert node.admitted(10_000) == 10_000
        node.look()
    (busy,) = node.leases()
    assert busy.granted - busy.spent > before.granted
    for _ in range(30):
        node.look()
    (idle,) = node.leases()
    assert (idle.spent, idle.granted <= idle.spent + 2 * (1_000_000 // 64)) == (60_000, True)


def test_the_next_window_begins_anew(node, store, clock):
    node.publish(stored(store, 5))
    node.tick()
    assert node.admitted(30) == 5
    clock.advance(86400)
    node.tick()
    assert node.admitted(30) == 5


def test_a_clock_that_is_set_back_gives_nothing_twice(node, store, clock):
    node.publish(stored(store, 5))
    node.tick()
    assert node.admitted(30) == 5
    clock.set_back(86400 * 3)
    node.look()
    assert node.admitted(30) == 0


def test_a_changed_amount_holds(node, store):
    found = stored(store, 10)
    node.publish(found)
    node.tick()
    assert node.admitted(4) == 4
    more = change(store, found, 20)
    node.publish(more)
    node.look()
    assert node.admitted(6) == 6
    less = change(store, more, 12)
    node.publish(less)
    node.look()
    assert node.admitted(30) == 2


def test_without_the_database_what_is_leased_goes_on_and_nothing_more(node, store):
    node.publish(stored(store, 10_000))
    node.look()
    (lease,) = node.leases()
    for _ in range(lease.granted):
        assert node.call(0)
    with pytest.raises(Unavailable, match="on its way"):
        node.reserve()


def test_a_restarted_controller_goes_on_where_the_last_one_was(node, store, clock):
    node.publish(stored(store, 100))
    node.look()
    assert node.admitted(10) == 10
    node.supplier = Supplier(store, node.workers[0]._counters, node.name, clock)
    node.look()
    assert node.admitted(200) == 90


def test_killed_workers_lose_nothing_and_give_nothing_twice(node, store):
    node.publish(stored(store, 100))
    node.look()
    assert node.admitted(20) == 20
    node.reserve(1)
    node.workers[1].close()
    node.workers.pop()
    node.look()
    assert node.admitted(200) == 80


def test_two_machines_share_one_amount(node, store, clock, tmp_path):
    found = stored(store, 100)
    other = Node(tmp_path / "two", clock, store, name="other")
    try:
        for machine in (node, other):
            machine.publish(found)
            machine.look()
        admitted = 0
        for _ in range(60):
            admitted += node.admitted(3) + other.admitted(3)
            node.look()
            other.look()
        assert admitted == 100
    finally:
        other.close()


def test_an_idle_machine_does_not_keep_what_a_busy_one_needs(node, store, clock, tmp_path):
    found = stored(store, 10_000)
    other = Node(tmp_path / "two", clock, store, name="other")
    try:
        for machine in (node, other):
            machine.publish(found)
            machine.look()
        admitted = 0
        for _ in range(100):
            admitted += other.admitted(200)
            other.look()
            node.look()
        assert 10_000 - 2 * (10_000 // 64) <= admitted <= 10_000
    finally:
        other.close()


def test_lost_counters_are_settled_from_the_ledger(node, store, clock, tmp_path):
    found = stored(store, 100)
    node.publish(found)
    node.look()
    assert node.admitted(10) == 10
    node.look()
    anew = Node(tmp_path / "anew", clock, store, name=node.name)
    try:
        anew.publish(found)
        anew.look()
        held = sum(lease.granted for lease in anew.leases())
        assert held <= 100
        with store.write() as session:
            session.usage.add(
                [UsageMinute(workspace_id=1, minute=clock.time_ns() // 60_000_000_000, kind=CallKind.INFER, status=2, calls=12)]
            )
        anew.supplier.folded()
        anew.look()
        assert anew.admitted(300) == 88, "two calls more than the counters had told are in the ledger"
    finally:
        anew.close()


def test_money_is_leased_like_anything_else(node, store):
    found = stored(store, 1_000_000, Measure.MONEY, Window.MONTH, "USD")
    price = Price(id=1, workspace_id=1, deployment="", currency="USD", call=1_000, row=9_000)
    node.publish(found, prices=(price,))
    node.look()
    admitted = 0
    for number in range(400):
        try:
            reservation = node.reserve(number % 2)
        except Unavailable:
            node.tick()
        except LimitExceeded:
            break
        else:
            reservation.settle(200, Cost(rows=1), 0)
            admitted += 1
        node.tick()
    assert admitted == 100


@pytest.mark.parametrize("measure", [measure for measure in Measure if measure is not Measure.CONCURRENT])
def test_the_largest_amount_overflows_nothing_however_much_calls_say_to_have_used(node, store, measure):
    money = measure is Measure.MONEY
    found = stored(store, MOST // UNIT[measure], measure, Window.TOTAL, "USD" if money else "")
    node.publish(found, prices=(Price(id=1, workspace_id=1, deployment="", currency="USD", row=10**12),) if money else ())
    absurd = (1 << 63) - 1
    answered = 0
    for number in range(60):
        answered += node.call(number % 2, size=absurd, rows=absurd, tokens_in=absurd, tokens_out=absurd, compute_us=absurd)
        node.look()
    assert answered >= 20
    (lease,) = node.leases()
    assert 0 < lease.spent <= lease.granted <= MOST
    assert lease.spent == answered * (1 if measure is Measure.REQUESTS else 1 << 40)
