import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core.errors import DeadlineExceeded, Unavailable
from modelyard.core.inference import InferRequest
from modelyard.serving import overload
from modelyard.serving.overload import Overload, Pace, fitting
from modelyard.serving.replica import Replica, Timing, Waiting
from modelyard.serving.statistics import CallStatistics
from modelyard.testing.fakes import FunctionModel
from unit.serving.data_plane import SLOW, batcher, doubling, rows, signature


def waiting(deadline_ns=0):
    answers = []
    request = InferRequest({}, deadline_ns=deadline_ns)
    return Waiting({"x": rows(1)}, (), 1, 0, request, CallStatistics(), answers.append), answers


def paced(inside, interval_s):
    pace = Pace()
    pace.inside, pace.interval_s = inside, interval_s
    return pace


class Runner:
    replica = None
    most_rows = 64


def test_calls_that_would_be_late_are_refused_with_the_time_to_wait():
    taken = []
    submit = Overload(100, Runner(), paced(19, 0.01)).before(taken.append)
    with pytest.raises(Unavailable, match="would take about 200 ms, more than the deployment's objective of 100 ms") as caught:
        submit(waiting()[0])
    assert caught.value.retry_after == pytest.approx(0.1)
    Overload(100, Runner(), paced(5, 0.01)).before(taken.append)(waiting()[0])
    assert len(taken) == 1


def test_a_calls_own_time_counts_too_and_a_lone_call_is_always_tried():
    taken = []
    soon = time.monotonic_ns() + 20_000_000
    with pytest.raises(DeadlineExceeded):
        Overload(1000, Runner(), paced(5, 0.01)).before(taken.append)(waiting(soon)[0])
    Overload(1, Runner(), paced(0, 5.0)).before(taken.append)(waiting()[0])
    assert len(taken) == 1


def test_the_pace_is_learnt_from_answers_while_there_is_always_one_to_give(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(overload.time, "monotonic", lambda: now[0])
    pace = Pace()
    for _ in range(20):
        pace.enter()
    for _ in range(20):
        now[0] += 0.01
        pace.leave()
    assert pace.interval_s == pytest.approx(0.01)
    assert pace.predicted_s() == pytest.approx(0.01)
    now[0] += 100  # nobody calls
    pace.enter()
    now[0] += 0.01
    pace.leave()
    assert pace.interval_s == pytest.approx(0.01)


def test_refusals_inside_do_not_count_as_calls_inside():
    def full(_):
        raise Unavailable("Full.")

    pace = Pace()
    with pytest.raises(Unavailable):
        Overload(100, Runner(), pace).before(full)(waiting()[0])
    assert pace.inside == 0


@pytest.mark.parametrize(("allowed_us", "cap", "rows"), [(1000, 1024, 90), (1000, 40, 40), (50, 1024, 1), (1e9, 1024, 1024)])
def test_batches_are_as_large_as_the_objective_and_the_cap_allow(allowed_us, cap, rows):
    replica = Replica(doubling(), Timing(100.0, 10.0))
    assert fitting(replica, 1.0, allowed_us, cap) == rows


def test_an_objective_sets_the_largest_batch_of_its_version():
    async def main():
        made = batcher(FunctionModel(signature(), lambda inputs: {"y": inputs["x"]}), ThreadPoolExecutor(1), timing=SLOW)
        submit = Overload(10_000, made, Pace()).before(made.submit)
        call, answers = waiting()
        submit(call)
        async with asyncio.timeout(10):
            while not answers:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert 1 <= made.most_rows <= 1024
        assert made.most_rows != 64

    asyncio.run(main())
