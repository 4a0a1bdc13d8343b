import pytest

from gate_machine import Machine, limit
from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.errors import LimitExceeded, Unavailable
from modelyard.core.limits import Measure, Scope, Window
from modelyard.core.prices import Price
from modelyard.gate.counters import Awaited
from modelyard.gate.meter import Meter


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path, ManualClock())
    yield machine
    machine.close()


def test_without_limits_nothing_is_reserved(machine):
    assert machine.reserve() is None


@pytest.mark.parametrize("amount", [1, 2, 7, 100])
def test_exactly_the_amount_is_admitted_over_all_workers(machine, amount):
    machine.publish(limit(amount))
    assert machine.admitted(3 * amount + 20) == amount


def test_a_new_window_begins_with_the_whole_amount(machine):
    machine.publish(limit(5, window=Window.SECOND))
    for _ in range(3):
        assert machine.admitted(20) == 5
        machine.clock.advance(1)


def test_a_clock_that_is_set_back_gives_nothing_twice(machine):
    machine.publish(limit(5))
    assert machine.admitted(10) == 5
    machine.clock.set_back(3600)
    assert machine.admitted(10) == 0
    machine.clock.advance(60)
    assert machine.admitted(10) == 5


def test_a_refusal_says_what_is_used_up_and_until_when(machine):
    machine.publish(limit(3, subject="1f3a"))
    for _ in range(3):
        assert machine.call()
    with pytest.raises(LimitExceeded) as refused:
        machine.reserve()
    assert "3 requests/minute for key '1f3a'" in refused.value.message
    assert "3 spent, 0 reserved" in refused.value.message
    assert 0 < refused.value.retry_after <= 60
    (standing,) = refused.value.standings
    assert (standing.measure, standing.amount, standing.remaining) == (Measure.REQUESTS, 3, 0)


def test_units_that_another_worker_holds_are_awaited_and_come(machine):
    machine.publish(limit(1))
    held = machine.reserve(0)
    with pytest.raises(Awaited) as refused:
        machine.reserve(1)
    assert isinstance(refused.value.instead, LimitExceeded)
    assert "1 reserved" in refused.value.message
    assert refused.value.retry_after <= 1
    held.settle(200, Cost(), 0)
    with pytest.raises(LimitExceeded):
        machine.reserve(1)


def test_idle_units_of_one_worker_serve_another(machine):
    machine.publish(limit(1000))
    for _ in range(40):
        assert machine.call(0)
    machine.tick()
    machine.tick()
    assert sum(machine.call(1) for _ in range(2000)) == 960


def test_units_that_come_back_when_calls_end_do_not_lie_idle(machine):
    machine.publish(limit(160, Measure.CONCURRENT, Window.NONE), limit(100, Measure.TOKENS_OUT, id=2))
    assert machine.call(tokens_out=60)
    machine.clock.advance(60)
    running = [machine.reserve(0)]
    machine.tick()
    machine.tick()
    running.pop().settle(200, Cost(tokens_out=1), 0)
    machine.tick()
    machine.tick()
    assert [machine.workers[0]._meters[number].lease.available for number in (1, 2)] == [0, 0]


def test_all_limits_bind_or_none_is_touched(machine):
    key, deployment = limit(10), limit(2, id=2, scope=Scope.DEPLOYMENT)
    workspace, platform = limit(100, id=3, scope=Scope.WORKSPACE), limit(100, id=4, scope=Scope.PLATFORM, subject_id=0)
    machine.publish(key, deployment, workspace, platform)
    assert machine.admitted(20) == 2
    machine.publish(key, workspace, platform)
    assert machine.admitted(20) == 8, "refused calls took nothing of the others"


def test_other_keys_and_deployments_are_not_bound(machine):
    machine.publish(limit(1), limit(1, id=2, scope=Scope.DEPLOYMENT, subject_id=2))
    assert machine.admitted(5) == 1
    assert machine.reserve(key_id=2) is None
    assert machine.reserve(key_id=2, deployment=2) is not None


def test_all_keys_of_a_principal_count_together_and_those_of_others_do_not(machine):
    machine.publish(limit(3, scope=Scope.PRINCIPAL, subject_id=7))
    for number in range(3):
        assert machine.reserve(worker=number % 2, key_id=10 + number, principal_id=7) is not None
        machine.tick()
    with pytest.raises((LimitExceeded, Awaited)):
        machine.reserve(key_id=20, principal_id=7)
    assert machine.reserve(key_id=30, principal_id=8) is None


def test_a_person_in_two_workspaces_is_limited_in_each_by_its_own_limits(machine):
    machine.publish(limit(1, scope=Scope.PRINCIPAL, subject_id=7), limit(1, id=2, scope=Scope.PRINCIPAL, subject_id=7, workspace_id=2))
    for workspace_id in (1, 2):
        assert machine.reserve(key_id=workspace_id, principal_id=7, workspace_id=workspace_id) is not None
        with pytest.raises((LimitExceeded, Awaited)):
            machine.reserve(key_id=workspace_id + 5, principal_id=7, workspace_id=workspace_id)
    assert machine.reserve(key_id=9, principal_id=7, workspace_id=3) is None


def test_a_changed_amount_holds_at_once_for_what_is_left(machine):
    machine.publish(limit(5))
    assert machine.admitted(10) == 5
    machine.publish(limit(8, revision=2))
    assert machine.admitted(10) == 3
    machine.publish(limit(2, revision=3))
    assert machine.admitted(10) == 0
    machine.clock.advance(60)
    assert machine.admitted(10) == 2


def test_concurrent_calls_are_counted_while_they_run(machine):
    machine.publish(limit(3, Measure.CONCURRENT, Window.NONE))
    running = [machine.reserve(worker) for worker in (0, 1, 0)]
    for worker in (0, 1):
        with pytest.raises(Unavailable):
            machine.reserve(worker)
    running.pop().settle(500, Cost(), 0)
    running.append(machine.reserve(1))
    for one in running:
        one.settle(200, Cost(), 0)
    assert machine.admitted(50) == 50


def test_what_is_known_only_afterwards_is_estimated_by_what_it_was(machine):
    machine.publish(limit(100, Measure.TOKENS_OUT))
    assert machine.call(tokens_out=10)
    reservation = machine.reserve()
    assert reservation.estimates == [10]
    reservation.settle(200, Cost(tokens_out=10), 0)
    assert sum(machine.call(tokens_out=10) for _ in range(30)) == 8


def test_what_is_known_only_afterwards_overshoots_by_no_more_than_the_error_of_its_estimate(machine):
    machine.publish(limit(100, Measure.COMPUTE_MS))
    assert machine.call(compute_us=1_000)
    assert machine.call(compute_us=150_000), "nobody could know"
    assert not machine.call(compute_us=1_000)
    machine.clock.advance(60)
    assert machine.call(compute_us=1_000)


@pytest.mark.parametrize(
    ("measure", "cost", "size", "count"),
    [
        (Measure.BYTES, {}, 25, 4),
        (Measure.COMPUTE_MS, {"compute_us": 25_000}, 0, 4),
        (Measure.TOKENS_IN, {"tokens_in": 25}, 0, 4),
        (Measure.TOKENS_OUT, {"tokens_out": 50}, 0, 2),
    ],
)
def test_every_measure_is_counted(machine, measure, cost, size, count):
    machine.publish(limit(100, measure))
    assert sum(machine.call(size=size, **cost) for _ in range(20)) == count


def test_money_is_counted_by_price_and_only_for_answers(machine):
    price = Price(id=1, workspace_id=1, deployment="iris", currency="USD", call=300_000)
    machine.publish(limit(1_000_000, Measure.MONEY, currency="USD"), prices=(price,))
    for _ in range(5):
        assert machine.call(status=500)
    assert sum(machine.call() for _ in range(20)) == 3, "a price for each call is known beforehand and never overshoots"


def test_standings_tell_the_nearest_limit_of_each_measure(machine):
    machine.publish(limit(100), limit(10, id=2, scope=Scope.DEPLOYMENT), limit(50, Measure.ROWS, id=3))
    reservation = machine.reserve()
    reservation.settle(200, Cost(rows=20), 0)
    found = {standing.measure: standing for standing in reservation.standings().each}
    assert (found[Measure.REQUESTS].amount, found[Measure.REQUESTS].remaining) == (10, 9)
    assert found[Measure.ROWS].remaining == 30
    assert 0 <= found[Measure.ROWS].reset_seconds <= 60


def test_keys_that_the_same_limits_bind_are_told_the_same_and_others_their_own(machine):
    machine.publish(limit(100, scope=Scope.WORKSPACE), limit(10, id=2, scope=Scope.KEY, subject_id=7))
    told = {key: machine.reserve(key_id=key).standings() for key in (5, 6, 7)}
    assert told[5] is told[6]
    assert [standing.amount for standing in told[7].each] == [10]


def test_a_dead_workers_unused_units_come_back_and_its_spent_ones_do_not(tmp_path):
    machine = Machine(tmp_path, ManualClock())
    machine.publish(limit(10))
    assert machine.call(0)
    machine.reserve(0)
    machine.workers[0].close()
    machine.workers[0] = machine.workers[1]
    assert machine.admitted(30) == 9
    machine.close()


def test_long_windows_wait_for_the_controller(machine):
    machine.publish(limit(10, window=Window.DAY))
    with pytest.raises(Awaited, match="cannot be looked up now"):
        machine.reserve()


def test_a_new_window_goes_on_with_leases_as_large_as_the_last_needed(machine, monkeypatch):
    drawn = []
    draw = Meter.draw
    monkeypatch.setattr(Meter, "draw", lambda *asked: drawn.append(1) or draw(*asked))
    machine.publish(limit(1_000_000, window=Window.SECOND))
    assert all(machine.call() for _ in range(2000))
    first = len(drawn)
    machine.clock.advance(1)
    assert all(machine.call() for _ in range(2000))
    assert len(drawn) - first <= first // 2
