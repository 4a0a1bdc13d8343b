import asyncio
import time

import numpy as np
import pytest

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidTensor, Unavailable
from modelyard.core.inference import InferRequest
from modelyard.core.models import Profile
from modelyard.serving.replicas.places import Place, ReplicaState
from modelyard.testing.fakes import FunctionModel
from unit.serving.data_plane import call, doubling, rows, signature
from unit.serving.replicas.ends import Gate, ends, run, until

ONE = {"x": rows(1)}


def gated(gate, **attributes):
    model = FunctionModel(signature(), gate.compute)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def test_calls_are_computed_elsewhere_and_answered_in_their_order(tmp_path):
    async def main():
        async with ends(tmp_path, signature()) as both:
            model = doubling()
            await both.start("a", model)
            outcomes = await asyncio.gather(*[call(both.plane, {"x": rows(*range(size))}) for size in (1, 3, 2)])
            assert [outcome.outputs["y"].tolist() for outcome in outcomes] == [(rows(*range(size)) * 2).tolist() for size in (1, 3, 2)]
            assert [inputs["x"].shape for inputs in model.runs] == [(6, 2)]
            assert {outcome.model for outcome in outcomes} == {"m"}

    run(main)


def test_only_wanted_outputs_travel_back(tmp_path):
    async def main():
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            await both.start("a", doubling())
            outcome = await call(both.plane, ONE, outputs=("y",))
            assert list(outcome.outputs) == ["y"]

    run(main)


def test_a_bad_row_fails_only_its_own_call(tmp_path):
    def compute(inputs):
        if (inputs["x"] < 0).any():
            raise InvalidTensor("A negative number.")
        return {"y": inputs["x"]}

    async def main():
        async with ends(tmp_path, signature()) as both:
            await both.start("a", FunctionModel(signature(), compute))
            outcomes = await asyncio.gather(*[call(both.plane, {"x": rows(value)}) for value in (1, -1, 2)])
            assert [outcomes[0].outputs["y"].tolist(), outcomes[2].outputs["y"].tolist()] == [[[1, 1]], [[2, 2]]]
            assert isinstance(outcomes[1], InvalidTensor)

    run(main)


def test_what_a_model_raises_reaches_nobody(tmp_path):
    def compute(_):
        raise KeyError("secret path")

    async def main():
        async with ends(tmp_path, signature()) as both:
            await both.start("a", FunctionModel(signature(), compute))
            outcome = await call(both.plane, ONE)
            assert isinstance(outcome, Internal)
            assert "secret" not in outcome.message

    run(main)


def test_calls_wait_for_the_first_replica(tmp_path):
    async def main():
        async with ends(tmp_path, signature()) as both:
            both.tell(wanted=0)
            assert both.remote.asleep
            assert (both.remote.stage, both.remote.ready_ns) == ("asleep", 0)
            both.places["a"] = Place(name="a", socket=str(tmp_path / "none"), pid=1, state=ReplicaState.STARTING)
            both.tell()
            assert both.remote.stage == "loading"
            waiting = call(both.plane, ONE)
            came_ns = time.monotonic_ns()
            await asyncio.sleep(0.02)
            assert not waiting.done()
            assert both.batcher.waiting == 1
            await both.start("a", doubling())
            assert (await waiting).outputs["y"].tolist() == [[2, 2]]
            ready_ns = both.remote.ready_ns
            assert came_ns < ready_ns <= time.monotonic_ns()
            await both.start("b", doubling())
            assert both.remote.ready_ns == ready_ns  # one was ready already

    run(main)


def test_calls_that_wait_end_with_their_time_or_with_a_refusal(tmp_path):
    async def main():
        async with ends(tmp_path, signature()) as both:
            late = call(both.plane, ONE, deadline_ns=time.monotonic_ns() + 1_000_000)
            patient = call(both.plane, ONE)
            await asyncio.sleep(0.01)
            both.batcher.sweep(time.monotonic_ns())
            assert isinstance(await late, DeadlineExceeded)
            assert not patient.done()
            both.tell(wanted=1, reason="its setup failed")
            refused = await patient
            assert isinstance(refused, Unavailable)
            assert "its setup failed" in refused.message

    run(main)


def test_the_replica_with_the_fewest_calls_gets_the_next(tmp_path):
    async def main():
        first, second = Gate(), Gate()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            await both.start("a", gated(first))
            await both.start("b", gated(second))
            waiting = [call(both.plane, ONE) for _ in range(4)]
            await until(lambda: first.count and second.count)
            first.go.set()
            second.go.set()
            await asyncio.gather(*waiting)
            assert (first.count, second.count) == (2, 2)

    run(main)


def test_no_more_is_sent_than_a_replica_computes_and_one_ahead(tmp_path):
    async def main():
        gate = Gate()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            server = await both.start("a", gated(gate), concurrency=2)
            waiting = [call(both.plane, ONE) for _ in range(10)]
            await until(lambda: server.outstanding == 3)
            await asyncio.sleep(0.02)
            assert (server.outstanding, both.batcher.waiting) == (3, 7)
            gate.go.set()
            assert len(await asyncio.gather(*waiting)) == 10

    run(main)


@pytest.mark.parametrize(
    ("taken_us", "independent", "sent"),
    [(100.0, False, 1 + 4), (5_000.0, False, 1 + 2), (60_000.0, False, 1 + 1), (100.0, True, 1 + 1)],
)
def test_short_runs_are_sent_further_ahead_where_calls_are_not_joined(tmp_path, taken_us, independent, sent):
    async def main():
        gate = Gate()
        async with ends(tmp_path, signature(), profile=Profile(row_independent=independent), max_rows=1) as both:
            server = await both.start("a", gated(gate))
            both.remote.learn(1, taken_us)
            waiting = [call(both.plane, ONE) for _ in range(10)]
            await until(lambda: server.outstanding == sent)
            await asyncio.sleep(0.02)
            assert (server.outstanding, both.batcher.waiting) == (sent, 10 - sent)
            gate.go.set()
            assert len(await asyncio.gather(*waiting)) == 10

    run(main)


def test_calls_of_a_replica_that_dies_are_computed_once_more_elsewhere(tmp_path):
    async def main():
        gate, other = Gate(), doubling()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            await both.start("a", gated(gate))
            waiting = [call(both.plane, ONE) for _ in range(4)]
            await until(lambda: gate.count)
            await both.kill("a")
            await asyncio.sleep(0.02)
            assert not any(done.done() for done in waiting)
            await both.start("b", other)
            assert [outcome.outputs["y"].tolist() for outcome in await asyncio.gather(*waiting)] == [[[2, 2]]] * 4
            gate.go.set()

    run(main)


def test_a_call_that_ends_two_replicas_is_given_up(tmp_path):
    async def main():
        first, second = Gate(), Gate()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            await both.start("a", gated(first))
            waiting = call(both.plane, ONE)
            await until(lambda: first.count)
            await both.kill("a")
            await both.start("b", gated(second))
            await until(lambda: second.count)
            await both.kill("b")
            outcome = await waiting
            assert isinstance(outcome, Unavailable)
            assert "second time" in outcome.message
            first.go.set()
            second.go.set()

    run(main)


def test_calls_that_change_something_are_not_repeated_once_begun(tmp_path):
    async def main():
        gate = Gate()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            await both.start("a", gated(gate, repeatable=False))
            begun, ahead = call(both.plane, ONE), call(both.plane, ONE)
            await until(lambda: gate.count)
            await asyncio.sleep(0.05)  # the word that it began is on its way
            await both.kill("a")
            await both.start("b", doubling())
            assert isinstance(await begun, Unavailable)
            assert (await ahead).outputs["y"].tolist() == [[2, 2]]
            gate.go.set()

    run(main)


def test_a_draining_replica_answers_what_it_has_and_gets_no_more(tmp_path):
    async def main():
        gate, other = Gate(), doubling()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            server = await both.start("a", gated(gate))
            first = call(both.plane, ONE)
            await until(lambda: gate.count)
            await both.start("b", other)
            draining = asyncio.create_task(server.drain(10))
            await asyncio.sleep(0.02)
            outcomes = await asyncio.gather(*[call(both.plane, ONE) for _ in range(3)])
            assert len(outcomes) == len(other.runs) == 3
            gate.go.set()
            assert (await first).outputs["y"].tolist() == [[2, 2]]
            await draining
            both.servers.pop("a")

    run(main)


def test_a_call_whose_client_went_away_is_given_up_and_not_begun(tmp_path):
    async def main():
        gate = Gate()
        async with ends(tmp_path, signature(), profile=Profile()) as both:
            server = await both.start("a", gated(gate))
            first = call(both.plane, ONE)
            request = InferRequest(ONE)
            gone = asyncio.get_running_loop().create_future()
            both.plane.infer(1, "demo", request, gone.set_result)
            await until(lambda: server.outstanding == 2)
            request.deadline_ns = 1
            both.remote.sweep(time.monotonic_ns())
            assert isinstance(await gone, DeadlineExceeded)
            await until(lambda: server.outstanding == 1)
            gate.go.set()
            await first
            assert gate.count == 1

    run(main)


def test_megabytes_go_both_ways(tmp_path):
    async def main():
        wide = signature(("n", 250_000))
        async with ends(tmp_path, wide) as both:
            await both.start("a", FunctionModel(wide, lambda inputs: {"y": inputs["x"] * 2}))
            x = np.random.default_rng(1).random((3, 250_000), np.float32)
            outcomes = await asyncio.gather(*[call(both.plane, {"x": x[row : row + 1]}) for row in range(3)])
            for row, outcome in enumerate(outcomes):
                assert np.array_equal(outcome.outputs["y"], x[row : row + 1] * 2)

    run(main)


def test_answers_too_large_for_the_socket_come_whole_and_in_order(tmp_path):
    async def main():
        wide = signature(("n", 200_000))
        async with ends(tmp_path, wide, profile=Profile()) as both:
            model = FunctionModel(wide, lambda inputs: {"y": inputs["x"] + 1})
            await both.start("a", model, concurrency=4)
            calls = [call(both.plane, {"x": np.full((1, 200_000), number, np.float32)}) for number in range(24)]
            for number, outcome in enumerate(await asyncio.gather(*calls)):
                assert set(np.unique(outcome.outputs["y"]).tolist()) == {number + 1.0}

    run(main)


def test_a_socket_deep_in_the_file_system_is_reached(tmp_path):
    async def main():
        deep = tmp_path / ("d" * 60) / ("e" * 60)
        deep.mkdir(parents=True)
        async with ends(deep, signature()) as both:
            await both.start("a", doubling())
            assert (await call(both.plane, ONE)).outputs["y"].tolist() == [[2, 2]]

    run(main)


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"MYR1" + b"\xff" * 60])
def test_a_peer_that_speaks_something_else_is_cut_off(tmp_path, junk):
    async def main():
        async with ends(tmp_path, signature()) as both:
            await both.start("a", doubling())
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "a"))
            writer.write(junk)
            async with asyncio.timeout(10):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                    await reader.readexactly(1 << 20)
            writer.close()
            assert (await call(both.plane, ONE)).outputs["y"].tolist() == [[2, 2]]

    run(main)
