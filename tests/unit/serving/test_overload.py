import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core.errors import DeadlineExceeded, Unavailable
from modelyard.core.inference import InferRequest
from modelyard.serving import overload
from modelyard.serving.overload import LoopLag, Overload, Pace, fitting, turn_away
from modelyard.serving.replica import Replica, Timing, Waiting
from modelyard.serving.statistics import CallStatistics
from modelyard.testing.fakes import FunctionModel
from unit.serving.data_plane import SLOW, batcher, doubling, rows, signature


def waiting(deadline_ns=0):
    answers = []
    request = InferRequest({}, deadline_ns=deadline_ns)
    return Waiting({"x": rows(1)}, (), 1, 0, request, CallStatistics(), answers.append), answers


def paced(inside, limit, mean_s):
    pace = Pace()
    pace.inside, pace.limit, pace.mean_s = inside, limit, mean_s
    return pace


def guard(objective_ms, runner, pace):
    return Overload(objective_ms, runner, pace, LoopLag(lambda *_: None))


class Runner:
    replica = None
    most_rows = 64
    full_run = 1


def test_calls_that_would_be_late_are_refused_with_the_time_to_wait():
    taken = []
    submit = guard(100, Runner(), paced(19, 19.0, 0.05)).before(taken.append)
    with pytest.raises(Unavailable, match=r"19 calls are before this one, .* objective of 100 ms") as caught:
        submit(waiting()[0])
    assert caught.value.retry_after == pytest.approx(0.05)
    guard(100, Runner(), paced(18, 19.0, 0.05)).before(taken.append)(waiting()[0])
    assert len(taken) == 1


def test_a_calls_own_time_counts_too_and_a_lone_call_is_always_tried():
    taken = []
    soon = time.monotonic_ns() + 20_000_000
    with pytest.raises(Unavailable, match="longer than the time it allows") as refused:
        guard(1000, Runner(), paced(5, 10.0, 0.05)).before(taken.append)(waiting(soon)[0])
    assert refused.value.retry_after == pytest.approx(0.05)
    guard(1, Runner(), paced(0, 1.0, 5.0)).before(taken.append)(waiting()[0])
    assert len(taken) == 1


@pytest.mark.parametrize(("capacity", "fixed_s"), [(20, 0.0), (100, 0.0), (50, 0.04)])
def test_the_limit_settles_where_calls_take_about_the_objective(monkeypatch, capacity, fixed_s):
    """A version that takes longer the more calls are inside: at ``capacity`` of them, and no batching, just the objective."""
    now, objective_s = [100.0], 0.1
    monkeypatch.setattr(overload.time, "monotonic", lambda: now[0])
    pace, seen = Pace(), []
    for turn in range(4000):
        pace.inside = int(pace.limit)  # there is always another one
        taken_s = fixed_s + (objective_s - fixed_s) * pace.inside / capacity
        now[0] += taken_s / pace.inside
        pace.leave(taken_s, objective_s)
        if turn > 2000:
            seen.append(taken_s)
    assert 0.5 * objective_s < sum(seen) / len(seen) < objective_s
    assert max(seen) < 1.3 * objective_s


def test_the_limit_recovers_after_a_slow_time_and_does_not_grow_unused(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(overload.time, "monotonic", lambda: now[0])
    pace = Pace()
    for _ in range(100):
        now[0] += 1.0
        pace.inside = 1
        pace.leave(1.0, 0.1)
    assert pace.limit == 1.0
    for _ in range(300):
        now[0] += 0.01
        pace.inside = int(pace.limit)
        pace.leave(0.01, 0.1)
    grown = pace.limit
    assert grown > 10
    for _ in range(300):
        now[0] += 0.01
        pace.inside = 1
        pace.leave(0.01, 0.1)
    assert pace.limit == grown


def test_one_full_run_may_always_be_inside():
    class Batching(Runner):
        full_run = 4

    taken = []
    for inside in (2, 3):
        guard(100, Batching(), paced(inside, 1.0, 0.5)).before(taken.append)(waiting()[0])
    assert len(taken) == 2
    with pytest.raises(Unavailable):
        guard(100, Batching(), paced(4, 1.0, 0.5)).before(taken.append)(waiting()[0])


def test_refusals_inside_do_not_count_as_calls_inside():
    def full(_):
        raise Unavailable("Full.")

    pace = Pace()
    with pytest.raises(Unavailable):
        guard(100, Runner(), pace).before(full)(waiting()[0])
    assert pace.inside == 0


@pytest.mark.parametrize(("allowed_us", "cap", "rows"), [(1000, 1024, 90), (1000, 40, 40), (50, 1024, 1), (1e9, 1024, 1024)])
def test_batches_are_as_large_as_the_objective_and_the_cap_allow(allowed_us, cap, rows):
    replica = Replica(doubling(), Timing(100.0, 10.0))
    assert fitting(replica, 1.0, allowed_us, cap) == rows


def test_an_objective_sets_the_largest_batch_of_its_version():
    async def main():
        made = batcher(FunctionModel(signature(), lambda inputs: {"y": inputs["x"]}), ThreadPoolExecutor(1), timing=SLOW)
        submit = guard(10_000, made, Pace()).before(made.submit)
        call, answers = waiting()
        submit(call)
        async with asyncio.timeout(10):
            while not answers:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert 1 <= made.most_rows <= 1024
        assert made.most_rows != 64

    asyncio.run(main())


class Here(Runner):
    replica = Replica(doubling(), Timing(100.0, 10.0))


def test_a_call_that_has_waited_too_long_is_refused_instead_of_computed_and_may_come_again():
    taken = []
    submit = guard(100, Here(), paced(1, 19.0, 0.05)).before(taken.append)
    call, answers = waiting()
    call.arrived_ns = time.monotonic_ns()
    submit(call)
    assert call.request.deadline_ns == call.arrived_ns + 75_000_000  # the batcher computes nothing that is over
    call.done(DeadlineExceeded("Late."))
    (answer,) = answers
    assert (type(answer), answer.retry_after > 0) == (Unavailable, True)


@pytest.mark.parametrize(("runner", "inside"), [(Runner, 1), (Here, 0)])
def test_what_runs_elsewhere_and_a_lone_call_are_not_given_up(runner, inside):
    taken = []
    guard(100, runner(), paced(inside, 19.0, 0.05)).before(taken.append)(waiting()[0])
    assert taken[0].request.deadline_ns == 0


def test_a_deadline_of_the_callers_own_stays_theirs():
    taken, soon = [], time.monotonic_ns() + 10_000_000_000
    call, answers = waiting(soon)
    call.arrived_ns = soon - 10_000_000
    guard(1_000_000, Here(), paced(1, 19.0, 0.05)).before(taken.append)(call)
    assert call.request.deadline_ns == soon
    call.done(DeadlineExceeded("Late."))
    assert type(answers[0]) is DeadlineExceeded


def test_a_loop_that_lags_makes_answers_late():
    later = []
    lag = LoopLag(lambda seconds, step: later.append(step))
    lag.watch()
    lag.watch()
    assert len(later) == 1
    lag._due -= 0.2
    later.pop()()
    assert lag.seconds > 0.17
    for _ in range(40):
        later.pop()()
    assert lag.seconds < 0.01
    pace = paced(5, 10.0, 0.01)
    lag.seconds = 0.2
    call, _ = waiting()
    call.arrived_ns = time.monotonic_ns()
    Overload(100, Runner(), pace, lag).before(lambda _: None)(call)
    call.done(None)
    assert pace.limit == 8.0


def test_a_call_is_turned_away_when_no_version_could_answer_it():
    first, second = lane_of(), lane_of()
    full, free = guard(100, Runner(), paced(9, 9.0, 0.05)), guard(100, Runner(), paced(8, 9.0, 0.05))
    turn_away([first, second], [full, free])()
    free._pace.inside = 9
    with pytest.raises(Unavailable, match="9 calls are before this one"):
        turn_away([first, second], [full, free])()
    assert first.statistics.failed == 1


def lane_of():
    class Counted:
        statistics = CallStatistics()

    return Counted()
