"""Calls that tell more of themselves as they go on: decoded calls, and streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_machine import Machine, limit
from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.errors import LimitExceeded
from modelyard.core.limits import Measure, Scope, Window
from modelyard.core.prices import Price
from modelyard.gate.counters import Awaited


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path, ManualClock())
    yield machine
    machine.close()


def price(**rates):
    return Price(id=1, workspace_id=1, deployment="iris", currency="USD", **rates)


def patiently(machine, step, *arguments):
    """What a step gives, tried again while units are on their way."""
    for _ in range(5):
        try:
            return step(*arguments)
        except Awaited as error:
            last = error.instead
            machine.tick()
    raise last


def decoded(machine, rows, worker=0, size=0):
    """A whole call that reserves its rows once they are known; whether it was admitted."""
    try:
        reservation = patiently(machine, machine.reserve, worker)
    except LimitExceeded:
        return False
    cost = Cost(rows=rows, version_id=1)
    try:
        patiently(machine, reservation.expect, cost, size)
    except LimitExceeded:
        reservation.settle(429, Cost(), size)
        return False
    reservation.settle(200, cost, size)
    return True


def spent(machine, limit_id=1):
    counters = machine.workers[0]._counters
    return counters.spent(counters.places()[limit_id])


def stream(machine, reservation, chunk=1, cost=None, ticks=True):
    """Tokens handed out until the budget ends."""
    cost = cost or Cost()
    while True:
        before = cost.tokens_out
        cost.tokens_out += chunk
        try:
            reservation.spend(cost, 0)
        except (LimitExceeded, Awaited):
            cost.tokens_out = before
            return cost
        if ticks:
            machine.tick()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_rows_that_are_known_before_computing_never_overshoot(tmp_path_factory, calls):
    machine = Machine(tmp_path_factory.mktemp("rows"), ManualClock())
    machine.publish(limit(100, Measure.ROWS))
    used = 0
    for number, rows in enumerate(calls):
        if decoded(machine, rows, number % 2):
            used += rows
        else:
            assert used + rows > 100, "whatever fits is let through"
        machine.tick()
    assert spent(machine) == used <= 100
    machine.close()


def test_a_call_of_more_rows_than_its_estimate_waits_for_those_that_another_worker_holds(machine):
    machine.publish(limit(100, Measure.ROWS))
    first, second = machine.reserve(0), machine.reserve(1)
    first.expect(Cost(rows=60), 0)
    with pytest.raises(Awaited) as refused:
        second.expect(Cost(rows=50), 0)
    assert isinstance(refused.value.instead, LimitExceeded)
    first.settle(400, Cost(), 0)
    machine.tick()
    machine.tick()
    second.expect(Cost(rows=50), 0)
    second.settle(200, Cost(rows=50), 0)
    assert spent(machine) == 50


def test_a_call_that_can_never_fit_is_told_to_send_less(machine):
    machine.publish(limit(100, Measure.ROWS))
    reservation = machine.reserve()
    with pytest.raises(LimitExceeded, match="needs 101 rows, and the limit is 100 rows/minute for key 'it': send less at once") as refused:
        reservation.expect(Cost(rows=101), 0)
    assert refused.value.retry_after is None
    reservation.settle(429, Cost(), 0)
    assert decoded(machine, 100)


def test_a_call_that_is_refused_for_its_rows_costs_no_request(machine):
    machine.publish(limit(2), limit(10, Measure.ROWS, id=2))
    for _ in range(5):
        assert not decoded(machine, 11)
    assert decoded(machine, 5)
    assert decoded(machine, 5)
    assert not decoded(machine, 1)


def test_money_for_rows_is_known_before_computing_and_never_overshoots(machine):
    machine.publish(limit(1_000_000, Measure.MONEY, currency="USD"), prices=(price(call=10_000, row=30_000),))
    assert decoded(machine, 1)
    assert not decoded(machine, 40)
    assert decoded(machine, 31)
    assert spent(machine) == 40_000 + 940_000
    assert not decoded(machine, 1)


def test_money_that_computing_costs_as_well_is_at_least_its_mean(machine):
    machine.publish(limit(1_000_000, Measure.MONEY, currency="USD"), prices=(price(row=10_000, compute_second=1_000_000),))
    reservation = machine.reserve()
    reservation.settle(200, Cost(rows=1, compute_us=200_000), 0)
    reservation = machine.reserve()
    assert reservation.estimates == [210_000]
    reservation.expect(Cost(rows=1), 0)
    assert reservation.estimates == [210_000]
    reservation.expect(Cost(rows=30), 0)
    assert reservation.estimates == [300_000]


def test_bytes_are_at_least_those_that_came(machine):
    machine.publish(limit(100, Measure.BYTES))
    assert not decoded(machine, 1, size=101)
    assert decoded(machine, 1, size=90)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_a_stream_stops_when_the_budget_ends(machine, chunk):
    machine.publish(limit(100, Measure.TOKENS_OUT))
    reservation = machine.reserve()
    cost = stream(machine, reservation, chunk)
    assert cost.tokens_out == 100 - 100 % chunk
    assert spent(machine) == cost.tokens_out, "spent while it goes on"
    reservation.settle(200, cost, 0)
    assert spent(machine) == cost.tokens_out


def test_streams_of_several_workers_share_a_budget_exactly(machine):
    machine.publish(limit(100, Measure.TOKENS_OUT))
    streams = [(machine.reserve(number % 2), Cost()) for number in range(6)]
    handed_out, open_ = 0, list(streams)
    for _ in range(400):
        for entry in list(open_):
            reservation, cost = entry
            cost.tokens_out += 1
            try:
                reservation.spend(cost, 0)
                handed_out += 1
            except Awaited:
                cost.tokens_out -= 1
            except LimitExceeded:
                cost.tokens_out -= 1
                open_.remove(entry)
                reservation.settle(200, cost, 0)
        machine.tick()
    assert handed_out == 100
    assert not open_ or spent(machine) == 100


def test_what_a_stream_reserved_and_did_not_use_comes_back(machine):
    machine.publish(limit(100, Measure.TOKENS_OUT))
    assert machine.call(tokens_out=50)
    reservation = machine.reserve()
    assert reservation.estimates == [50]
    cost = Cost(tokens_out=2)
    reservation.spend(cost, 0)
    assert spent(machine) == 52
    with pytest.raises(Awaited):
        machine.reserve(1)
    reservation.settle(499, cost, 0)
    assert machine.workers[0]._meters[1].lease.available == 48


def test_what_a_stream_has_spent_stays_spent_when_it_breaks(machine):
    machine.publish(limit(1_000_000, Measure.MONEY, currency="USD"), prices=(price(tokens_out=1_000_000),))
    reservation = machine.reserve()
    reservation.spend(Cost(tokens_out=300), 0)
    reservation.settle(500, Cost(tokens_out=300), 0)
    assert spent(machine) == 300_000


def test_what_a_stream_of_a_killed_worker_had_spent_stays_spent_and_the_rest_comes_back(machine):
    machine.publish(limit(100, Measure.TOKENS_OUT))
    assert machine.call(0, tokens_out=40)
    reservation = machine.reserve(0)
    reservation.spend(Cost(tokens_out=7), 0)
    machine.workers[0].close()
    machine.workers[0] = machine.workers[1]
    assert stream(machine, machine.reserve(1)).tokens_out == 53


def test_a_stream_goes_on_in_the_next_window(machine):
    machine.publish(limit(10, Measure.TOKENS_OUT, Window.MINUTE))
    reservation = machine.reserve()
    cost = stream(machine, reservation)
    assert cost.tokens_out == 10
    machine.clock.advance(60)
    cost = stream(machine, reservation, cost=cost)
    assert cost.tokens_out == 20
    reservation.settle(200, cost, 0)
    assert spent(machine) == 10
    machine.clock.advance(60)
    assert stream(machine, machine.reserve()).tokens_out == 10


def test_a_stream_pays_for_all_limits_or_none(machine):
    machine.publish(
        limit(1_000_000, Measure.MONEY, currency="USD"),
        limit(20, Measure.TOKENS_OUT, id=2, scope=Scope.DEPLOYMENT),
        limit(50, Measure.TOKENS_IN, id=3),
        prices=(price(call=100_000, tokens_in=1_000_000, tokens_out=10_000_000),),
    )
    reservation = machine.reserve()
    reservation.expect(Cost(tokens_in=50), 0)
    with pytest.raises(LimitExceeded, match="tokens in"):
        reservation.expect(Cost(tokens_in=51), 0)
    reservation.expect(Cost(tokens_in=50), 0)
    cost = stream(machine, reservation, cost=Cost(tokens_in=50))
    assert cost.tokens_out == 20
    assert (spent(machine), spent(machine, 2), spent(machine, 3)) == (100_000 + 50_000 + 200_000, 20, 50)
    reservation.settle(200, cost, 0)
    assert (spent(machine), spent(machine, 2), spent(machine, 3)) == (350_000, 20, 50)
