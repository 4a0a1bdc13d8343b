import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidTensor, Unavailable
from modelyard.core.models import Profile
from modelyard.testing.fakes import FunctionModel
from unit.serving.data_plane import SLOW, batcher, call, doubling, plane_with, rows, signature


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def run(main):
    asyncio.run(asyncio.wait_for(main(), 20))


def test_calls_of_one_turn_share_a_run_and_get_their_own_rows(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads), model)
        outcomes = await asyncio.gather(*[call(plane, {"x": rows(*range(size))}) for size in (1, 3, 2)])
        assert [outcome.outputs["y"].tolist() for outcome in outcomes] == [(rows(*range(size)) * 2).tolist() for size in (1, 3, 2)]
        assert [outcome.rows for outcome in outcomes] == [1, 3, 2]
        assert [run["x"].shape for run in model.runs] == [(6, 2)]

    run(main)


def test_a_run_has_no_more_rows_than_allowed_but_one_call_may(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads, max_rows=4), model)
        await asyncio.gather(*[call(plane, {"x": rows(*range(size))}) for size in (3, 2, 9, 1)])
        assert [run["x"].shape[0] for run in model.runs] == [3, 2, 9, 1]

    run(main)


def test_versions_whose_rows_depend_on_each_other_run_singly(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads, profile=Profile(row_independent=False, inline=True)), model)
        await asyncio.gather(*[call(plane, {"x": rows(1)}) for _ in range(3)])
        assert [run["x"].shape[0] for run in model.runs] == [1, 1, 1]

    run(main)


def test_only_equal_shapes_are_joined(threads):
    async def main():
        model = doubling(("n", -1))
        plane = plane_with(batcher(model, threads), model)
        sizes = [(1, 2), (1, 3), (2, 2), (1, 3)]
        outcomes = await asyncio.gather(*[call(plane, {"x": np.ones(size, np.float32)}) for size in sizes])
        assert [outcome.outputs["y"].shape for outcome in outcomes] == sizes
        assert sorted(run["x"].shape for run in model.runs) == [(2, 3), (3, 2)]

    run(main)


def test_a_first_dimension_that_stands_elsewhere_too_is_never_joined(threads):
    async def main():
        model = FunctionModel(signature(("n", 2), output=("n", "n")), lambda inputs: {"y": inputs["x"] @ inputs["x"].T})
        plane = plane_with(batcher(model, threads), model)
        outcomes = await asyncio.gather(*[call(plane, {"x": rows(1)}) for _ in range(2)])
        assert [outcome.outputs["y"].shape for outcome in outcomes] == [(1, 1)] * 2

    run(main)


def test_a_bad_row_fails_only_its_own_call(threads):
    def compute(inputs):
        if (inputs["x"] < 0).any():
            raise InvalidTensor("A negative number.")
        return {"y": inputs["x"]}

    async def main():
        model = FunctionModel(signature(), compute)
        plane = plane_with(batcher(model, threads), model)
        outcomes = await asyncio.gather(*[call(plane, {"x": rows(value)}) for value in (1, -1, 2)])
        assert [outcomes[0].outputs["y"].tolist(), outcomes[2].outputs["y"].tolist()] == [[[1, 1]], [[2, 2]]]
        assert isinstance(outcomes[1], InvalidTensor)
        view = plane.served(1, "demo")
        assert (view.statistics.succeeded, view.statistics.failed) == (2, 1)

    run(main)


def test_a_model_that_gives_too_few_rows_is_run_singly(threads):
    async def main():
        model = FunctionModel(signature(), lambda inputs: {"y": inputs["x"][:1]})
        plane = plane_with(batcher(model, threads), model)
        outcomes = await asyncio.gather(*[call(plane, {"x": rows(value)}) for value in (1, 2)])
        assert [outcome.outputs["y"].tolist() for outcome in outcomes] == [[[1, 1]], [[2, 2]]]

    run(main)


def test_what_a_runtime_raises_against_its_contract_is_told_without_detail(threads):
    def compute(_):
        raise KeyError("secret path")

    async def main():
        model = FunctionModel(signature(), compute)
        outcome = await call(plane_with(batcher(model, threads), model), {"x": rows(1)})
        assert isinstance(outcome, Internal)
        assert "secret" not in outcome.message

    run(main)


def test_slow_runs_leave_the_loop_and_calls_gather_meanwhile(threads):
    release = threading.Event()
    where = []

    def compute(inputs):
        where.append(threading.current_thread() is threading.main_thread())
        release.wait(10)
        return {"y": inputs["x"]}

    async def main():
        model = FunctionModel(signature(), compute)
        plane = plane_with(batcher(model, threads, timing=SLOW, concurrent=1), model)
        first = call(plane, {"x": rows(1)})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [call(plane, {"x": rows(value)}) for value in (2, 3, 4)]
        await asyncio.sleep(0)
        assert not first.done()
        release.set()
        await asyncio.gather(first, *later)
        assert where == [False, False]
        assert [run["x"].shape[0] for run in model.runs] == [1, 3]

    run(main)


def test_versions_that_may_not_run_inline_never_do(threads):
    async def main():
        seen = []
        model = FunctionModel(signature(), lambda inputs: seen.append(threading.current_thread()) or {"y": inputs["x"]})
        plane = plane_with(batcher(model, threads, profile=Profile(row_independent=True, inline=False)), model)
        await call(plane, {"x": rows(1)})
        assert seen[0] is not threading.main_thread()

    run(main)


def test_a_call_that_nobody_waits_for_is_not_computed(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads), model)
        expired = call(plane, {"x": rows(1)}, deadline_ns=time.monotonic_ns() - 1)
        alive = call(plane, {"x": rows(2)}, deadline_ns=time.monotonic_ns() + 10**12)
        assert isinstance(await expired, DeadlineExceeded)
        assert (await alive).outputs["y"].tolist() == [[4, 4]]
        assert [run["x"].tolist() for run in model.runs] == [[[2, 2]]]

    run(main)


def test_a_call_that_would_wait_in_vain_is_refused_at_once(threads):
    release = threading.Event()

    def compute(inputs):
        time.sleep(0.05)
        if inputs["x"].max() > 1:
            release.wait(20)
        return {"y": inputs["x"]}

    async def main():
        model = FunctionModel(signature(), compute)
        plane = plane_with(batcher(model, threads, timing=SLOW, concurrent=1, max_rows=1), model)

        def within(seconds):
            return call(plane, {"x": rows(1)}, deadline_ns=time.monotonic_ns() + int(seconds * 1e9))

        await call(plane, {"x": rows(1)})  # teaches how long a run takes
        running = call(plane, {"x": rows(2)})
        await asyncio.sleep(0.01)
        first = within(0.04)  # nothing waits yet: what is not sure is tried
        await asyncio.sleep(0)
        waiting = [within(60) for _ in range(8)]
        hasty, patient = within(0.2), within(60)
        refused = await asyncio.wait_for(hasty, 5)
        assert isinstance(refused, Unavailable), refused
        assert refused.retry_after == pytest.approx(9 * 0.05, rel=0.5)
        assert not patient.done()
        await asyncio.sleep(0.05)  # until nobody waits for the first of them
        release.set()
        outcomes = await asyncio.gather(running, *waiting, patient)
        assert not any(isinstance(outcome, Exception) for outcome in outcomes)
        assert isinstance(await first, DeadlineExceeded)
        assert len(model.runs) == 11

    run(main)


def test_too_many_waiting_calls_are_refused(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads, max_waiting=2), model)
        outcomes = await asyncio.gather(*[call(plane, {"x": rows(1)}) for _ in range(3)])
        assert isinstance(outcomes[2], Unavailable)
        assert outcomes[2].retry_after
        assert not isinstance(outcomes[1], Unavailable)

    run(main)


def test_a_shared_run_is_charged_by_rows(threads):
    async def main():
        def compute(inputs):
            time.sleep(0.02)
            return {"y": inputs["x"]}

        model = FunctionModel(signature(), compute)
        plane = plane_with(batcher(model, threads), model)
        small, large = await asyncio.gather(call(plane, {"x": rows(1)}), call(plane, {"x": rows(1, 2, 3)}))
        assert abs(large.compute_us - 3 * small.compute_us) <= 3
        assert small.compute_us + large.compute_us >= 20_000
        counts = plane.served(1, "demo").statistics
        assert (counts.succeeded, counts.rows, round(counts.executions, 6)) == (2, 4, 1.0)

    run(main)


def test_a_retired_replica_is_closed_after_its_last_call(threads):
    async def main():
        model = doubling()
        made = batcher(model, threads)
        outcome = call(plane_with(made, model), {"x": rows(1)})
        closed = []
        made.retire(closed.append)
        assert closed == []
        await outcome
        assert len(closed) == 1

    run(main)


def test_an_idle_retired_replica_is_closed_at_once(threads):
    async def main():
        closed = []
        batcher(doubling(), threads).retire(closed.append)
        assert len(closed) == 1

    run(main)


def test_runs_that_are_slower_than_expected_move_to_threads_and_back(threads):
    async def main():
        seen, busy = [], [0.003]

        def compute(inputs):
            seen.append(threading.current_thread() is threading.main_thread())
            until = time.thread_time() + busy[0]
            while time.thread_time() < until:
                pass
            return {"y": inputs["x"]}

        model = FunctionModel(signature(), compute)
        plane = plane_with(batcher(model, threads), model)
        for _ in range(14):
            await call(plane, {"x": rows(1)})
        assert seen[0]
        assert not seen[-1]
        busy[0] = 0.0
        for _ in range(60):
            await call(plane, {"x": rows(1)})
        assert seen[-1]

    run(main)
