"""The search for a way of running, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.tuning import milliseconds, share
from modelyard.core.errors import InvalidRequest
from modelyard.optimize.tuning.halving import front, halve
from modelyard.optimize.tuning.job import rank, ways
from modelyard.optimize.tuning.server import Measured
from modelyard.optimize.tuning.spec import Objective

OBJECTIVE = Objective(p99_ms=5.0)


def measured(p99, rate=100.0, failed=0):
    return Measured(p50_ms=p99 / 2, p99_ms=p99, per_second=rate, failed=failed)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=40, unique=True), st.floats(1, 100))
def test_the_best_is_found_within_the_time_and_gets_the_most_of_it(values, seconds):
    spent = []

    def measure(value, given):
        spent.append((value, given))
        return value

    standings = halve(values, measure, lambda found: (found,), seconds)
    assert sorted(standing.candidate for standing in standings) == sorted(values)
    assert standings[0].candidate == min(values)
    assert standings[0].rounds == max(standing.rounds for standing in standings)
    assert [standing.rounds for standing in standings] == sorted((standing.rounds for standing in standings), reverse=True)
    assert sum(given for _, given in spent) == pytest.approx(seconds)
    times = [given for value, given in spent if value == min(values)]
    assert times == sorted(times)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_the_front_holds_what_nothing_beats(points):
    kept = front(points)
    for at, point in enumerate(points):
        beaten = any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)
        assert (at in kept) != beaten


def test_what_is_in_time_goes_by_throughput_and_the_rest_by_lateness():
    order = [measured(4, 900), measured(1, 300), measured(6, 2000), measured(40, 10), measured(2, 5000, failed=3)]
    assert sorted(order, key=lambda found: rank(found, OBJECTIVE)) == order


def test_every_child_is_tried_in_every_way():
    found = ways([(), ("int8",)], (1, 2), OBJECTIVE, 2)
    assert len(found) == 2 * 2 * 5
    assert len({way.title for way in found}) == len(found)
    assert not any(way.policy.get("replicas", {}).get("threads", 1) > 1 for way in ways([()], (1,), OBJECTIVE, 1))


def test_times_and_shares_are_read_as_people_write_them():
    assert [milliseconds(text) for text in ("5ms", "800us", "0.2s", "3")] == [5.0, 0.8, 200.0, 3.0]
    assert [share(text) for text in ("0.5%", "0.005")] == [0.005, 0.005]
    for wrong in ("soon", "-5ms"):
        with pytest.raises(InvalidRequest, match="like 5ms"):
            milliseconds(wrong)
    with pytest.raises(InvalidRequest, match=r"like 0\.5%"):
        share("little")
    with pytest.raises(ValueError, match="p99_ms"):
        Objective(p99_ms=0.0)
