"""Reserve, settle, lose, crash and recover in any order: no order lets more through than the amount, or loses units for good."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gate_machine import Machine, limit
from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.errors import LimitExceeded, Unavailable
from modelyard.core.limits import Limit, Measure, Scope, Window
from modelyard.gate.counters import Counters
from modelyard.gate.limiter import Limiter
from modelyard.gate.supply import Supplier
from modelyard.store.database import Store

AMOUNT = 12
WORKERS = 3


class Budget(RuleBasedStateMachine):
    window = Window.DAY
    measure = Measure.REQUESTS
    scope = Scope.WORKSPACE

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.clock = ManualClock()
        with self.store.write() as session:
            for old in session.limits.all():
                session.limits.remove(1, old.id)
            wish = Limit(id=0, workspace_id=1, scope=self.scope, measure=self.measure, window=self.window, amount=AMOUNT)
            self.limit = session.limits.add(wish)
        self.machine = Machine(self.root, self.clock, WORKERS)
        self.machine.publish(limit(AMOUNT, self.measure, self.window, id=self.limit.id, scope=self.scope))
        self.controller = Counters(self.root / "limits", capacity=64)
        self.supplier = Supplier(self.store, self.controller, "node", self.clock)
        self.running = [[] for _ in range(WORKERS)]
        self.settled = 0

    def teardown(self):
        self.recover()
        self.look()
        for calls in self.running:
            while calls:
                calls.pop().settle(200, Cost(), 0)
                self.settled += self.measure is Measure.REQUESTS
        admitted = 0
        for number in range(200):
            worker = number % WORKERS
            admitted += self.start(worker) is not None
            if self.measure is Measure.CONCURRENT and self.running[worker] and number >= 150:
                self.running[worker].pop().settle(200, Cost(), 0)
                break
            self.machine.tick()
            self.supplier.tick()
        assert admitted == AMOUNT - self.settled, "nothing is lost for good"
        self.machine.close()
        self.controller.close()
        self.folder.cleanup()

    def start(self, worker):
        try:
            reservation = self.machine.reserve(worker, key_id=worker + 1)
        except (LimitExceeded, Unavailable):
            return None
        self.running[worker].append(reservation)
        return reservation

    @rule(worker=st.integers(0, WORKERS - 1), calls=st.integers(1, 5))
    def begin_calls(self, worker, calls):
        for _ in range(calls):
            self.start(worker)

    @rule(worker=st.integers(0, WORKERS - 1))
    def settle_oldest(self, worker):
        if self.running[worker]:
            self.running[worker].pop(0).settle(200, Cost(), 0)
            self.settled += self.measure is Measure.REQUESTS

    @rule(worker=st.integers(0, WORKERS - 1))
    def kill(self, worker):
        """SIGKILL: the kernel lets go of the seat, and nothing is tidied up."""
        dead = self.machine.workers[worker]._counters
        os.close(dead._seat_lock)
        dead.seat = -1
        self.running[worker] = []
        dead.close()
        self.machine.workers[worker] = Limiter(Counters(self.root / "limits", capacity=64), self.clock)

    @rule()
    def tick(self):
        self.machine.tick()

    @rule()
    def supply(self):
        self.supplier.tick()

    @rule()
    def look(self):
        self.clock.advance(0.6)
        self.supplier.tick()

    @rule()
    def recover(self):
        """The controller is killed and started again."""
        self.supplier = Supplier(self.store, self.controller, "node", self.clock)

    @precondition(lambda self: self.window is Window.DAY)
    @rule(seconds=st.integers(1, 10**6))
    def set_the_clock_back(self, seconds):
        self.clock.set_back(seconds)

    @invariant()
    def never_more_than_the_amount(self):
        assert self.settled + sum(map(len, self.running)) <= AMOUNT
        with self.store.read() as session:
            leases = session.leases.list(self.limit.id, self.controller.words[self.controller.places().get(self.limit.id, 0) + 2])
        assert sum(lease.granted for lease in leases) <= AMOUNT


class OfMember(Budget):
    """All keys of one member, of which each worker meets another."""

    scope = Scope.PRINCIPAL


class ShortWindow(Budget):
    window = Window.MINUTE

    @rule()
    def look(self):
        self.supplier.tick()


class Concurrent(ShortWindow):
    window = Window.NONE
    measure = Measure.CONCURRENT


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("kind", [Budget, OfMember, ShortWindow, Concurrent])
def test_any_order_of_events_keeps_the_amount(kind, database, request):
    store = Store.open(request.getfixturevalue(f"{database}_url"), ManualClock())
    store.migrate()
    options = settings(max_examples=20 if database == "sqlite" else 8, stateful_step_count=25, deadline=None)
    try:
        run_state_machine_as_test(lambda: kind(store), settings=options)
    finally:
        store.close()
