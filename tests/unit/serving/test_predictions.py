"""The controller's part of asynchronous prediction, against a real database and folder, with a fake listener and receiver."""

import json
import threading

import msgspec
import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.errors import InvalidRequest
from modelyard.serving.prediction_files import Outcome, PredictionFiles, Submission, new_id
from modelyard.serving.predictions import PredictionRunner, RunnerOptions
from modelyard.serving.webhooks import signature_headers
from modelyard.store.database import Store
from modelyard.store.predictions import PredictionStatus

OK = (200, b'{"predictions":[1]}')
SECRET = b"a secret of the home"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the program catches it."""


class World:
    """A home with a runner whose listener and receiver do as the test says."""

    def __init__(self, folder, **options):
        self.clock = ManualClock()
        self.files = PredictionFiles(folder / "predictions")
        self.store = Store.open(f"sqlite:///{folder}/db", self.clock)
        self.store.migrate()
        self.answers, self.hooks = [], []
        self.calls, self.posts = [], []
        self.options = RunnerOptions(**options)
        self.runner = self.start()

    def start(self):
        return PredictionRunner(self.files, self.store, self.call, self.post, secret=SECRET, clock=self.clock, options=self.options)

    def call(self, submission):
        self.calls.append(submission.id)
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def post(self, url, headers, body):
        self.posts.append((url, headers, json.loads(body)))
        answer = self.hooks.pop(0) if self.hooks else 204
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit(self, webhook="", workspace_id=1):
        self.clock.advance(0.01)
        made = Submission(
            id=new_id(self.clock.time_ns()),
            workspace_id=workspace_id,
            key_id=5,
            deployment="demo",
            body='{"records":[{}]}',
            webhook=webhook,
            created_ns=self.clock.time_ns(),
        )
        self.files.submit(made)
        return made.id

    def tick(self, runner=None):
        runner = runner or self.runner
        runner.tick()
        runner.settle()

    def row(self, prediction_id):
        with self.store.read() as session:
            return session.predictions.get(1, prediction_id)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.runner.close()
    made.store.close()


def test_a_submission_ends_as_a_stored_result(world):
    made = world.submit()
    world.tick()
    stored = world.files.find(1, made)
    assert isinstance(stored, Outcome)
    assert (stored.status, bytes(stored.result)) == ("succeeded", OK[1])
    assert world.files.pending() == []
    row = world.row(made)
    assert (row.status, row.key_id, row.deployment) == (PredictionStatus.SUCCEEDED, 5, "demo")


def test_submissions_are_taken_in_order_and_few_at_a_time(tmp_path):
    world = World(tmp_path, concurrency=2)
    made = [world.submit() for _ in range(5)]
    world.tick()
    assert sorted(world.calls) == sorted(made[:2])
    world.tick()
    world.tick()
    assert sorted(world.calls) == sorted(made)
    world.runner.close()
    world.store.close()


def test_an_overloaded_or_unreachable_deployment_is_tried_again(world):
    world.answers = [(503, b"{}"), (429, b'{"error":{"retry_after":30}}'), ConnectionRefusedError("no"), OK]
    made = world.submit()
    for wait, calls in ((0, 1), (0.1, 1), (0.5, 2), (20, 2), (10, 3), (2, 4)):
        world.clock.advance(wait)
        world.tick()
        assert len(world.calls) == calls
    assert world.files.find(1, made).status == "succeeded"


def test_it_is_given_up_after_a_while_with_the_reason(world):
    made = world.submit()
    world.clock.advance(3601)
    world.answers = [(503, b'{"error":{"code":"unavailable","message":"Loading."}}')]
    world.tick()
    stored = world.files.find(1, made)
    assert (stored.status, json.loads(bytes(stored.error))) == ("failed", {"code": "unavailable", "message": "Loading."})
    assert (world.row(made).status, world.row(made).error) == (PredictionStatus.FAILED, "Loading.")


@pytest.mark.parametrize(
    "answer", [(400, b'{"error":{"code":"invalid_tensor","message":"No."}}'), (500, b"<html>"), (404, b'{"error":"x"}')]
)
def test_a_refusal_is_a_result_too(world, answer):
    world.answers = [answer]
    made = world.submit()
    world.tick()
    stored = world.files.find(1, made)
    assert stored.status == "failed"
    assert json.loads(bytes(stored.error))["message"]
    assert len(world.calls) == 1


def test_an_unexpected_error_of_one_does_not_end_the_others(world):
    world.answers = [ZeroDivisionError("bug"), OK]
    first, second = world.submit(), world.submit()
    world.tick()
    world.clock.advance(1)
    world.tick()
    assert {world.files.find(1, name).status for name in (first, second)} == {"succeeded"}


def test_killed_after_the_result_it_ends_with_the_same_result(world, monkeypatch):
    """Every step after the call is cut off once; the prediction is never answered twice and never differs."""
    for place in ((world.files, "store"), (world.store, "write"), (world.files, "done")):
        made = world.submit()
        answers = iter([(200, b'{"predictions":["first"]}'), (200, b'{"predictions":["second"]}')])
        world.answers = [lambda answers=answers: next(answers)] * 2
        with monkeypatch.context() as patch:

            def killed(*_, place=place):
                raise Killed(place[1])

            if place[1] == "write":  # the row exists already; the write that finishes it is cut off
                world.runner._record(world.files.submission(1, made))
                patch.setattr(world.runner, "_record", lambda _: None)
            patch.setattr(*place, killed)
            with pytest.raises(Killed):
                world.runner._execute(world.files.submission(1, made))
        again = world.start()
        world.tick(again)
        again.close()
        stored = world.files.outcome(1, made)
        assert json.loads(bytes(stored.result))["predictions"] == (["second"] if place[1] == "store" else ["first"])
        assert world.row(made).status is PredictionStatus.SUCCEEDED
        assert world.files.pending() == []


def test_two_runners_store_one_result(world):
    made = world.submit()
    gate = threading.Barrier(2, timeout=10)
    bodies = iter([b'{"predictions":["a"]}', b'{"predictions":["b"]}'])

    def answer():
        body = next(bodies)
        gate.wait()
        return 200, body

    world.answers = [answer, answer]
    other = world.start()
    world.runner.tick()
    other.tick()
    world.runner.settle()
    other.settle()
    other.close()
    first = world.files.outcome(1, made)
    world.tick()
    assert bytes(world.files.outcome(1, made).result) == bytes(first.result)
    assert world.row(made).status is PredictionStatus.SUCCEEDED


def test_a_webhook_is_signed_and_told_the_result(world):
    made = world.submit("https://example.org/hook")
    world.tick()
    world.tick()
    [(url, headers, body)] = world.posts
    assert url == "https://example.org/hook"
    assert body["type"] == "prediction.succeeded"
    assert body["data"] == {
        "id": made,
        "status": "succeeded",
        "deployment": "demo",
        "url": f"/v1/deployments/demo/predictions/{made}",
        "result": {"predictions": [1]},
    }
    assert headers["webhook-id"] == made
    expected = signature_headers(SECRET, made, int(headers["webhook-timestamp"]), msgspec.json.encode(body))
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["webhook-signature"] == expected["webhook-signature"]
    assert world.row(made).delivered_ns
    world.tick()
    assert len(world.posts) == 1


def test_a_webhook_is_tried_again_with_growing_pauses_until_given_up(tmp_path):
    world = World(tmp_path, webhook_backoff_seconds=(5, 30))
    made = world.submit("https://example.org/hook")
    world.hooks = [500, OSError("refused"), 500]
    world.tick()
    for wait, posts in ((0, 1), (4, 1), (1, 2), (29, 2), (1, 3), (10000, 3)):
        world.clock.advance(wait)
        world.tick()
        assert len(world.posts) == posts
    row = world.row(made)
    assert (row.attempts, bool(row.delivered_ns)) == (3, True)
    world.runner.close()
    world.store.close()


@pytest.mark.parametrize("answer", [410, InvalidRequest("Not allowed.")])
def test_a_webhook_that_is_gone_or_refused_is_not_tried_again(world, answer):
    world.hooks = [answer]
    made = world.submit("https://example.org/hook")
    world.tick()
    world.tick()
    world.clock.advance(100000)
    world.tick()
    assert len(world.posts) == 1
    assert world.row(made).delivered_ns


def test_a_forgotten_prediction_leaves_nothing(world):
    waiting = world.submit()
    done = world.submit("https://example.org/hook")
    world.files.forget(1, waiting)
    world.tick()
    assert world.calls == [done]
    world.files.forget(1, done)
    world.tick()
    assert world.posts == []
    assert world.row(done) is world.row(waiting) is None
    assert world.files.find(1, done) is None
    assert world.files.forgotten() == []


def test_forgotten_while_it_is_computed_its_result_is_not_stored(world):
    made = world.submit()

    def answer():
        world.files.forget(1, made)
        return OK

    world.answers = [answer]
    world.tick()
    world.tick()
    assert world.files.outcome(1, made) is None
    assert world.row(made) is None
    assert world.files.forgotten() == []


def test_results_are_kept_for_their_time_only(world):
    made = world.submit()
    world.tick()
    world.clock.advance(7 * 24 * 3600 - 60)
    world.tick()
    assert world.files.find(1, made) is not None
    world.clock.advance(120)
    world.tick()
    assert world.files.find(1, made) is None
    assert world.row(made) is None


def test_a_damaged_request_is_set_aside(world, tmp_path):
    made = world.submit()
    path = tmp_path / "predictions" / "1" / "spool" / f"{made}.json"
    path.write_bytes(b"{")
    world.tick()
    assert world.files.pending() == []
    assert path.with_suffix(".damaged").exists()


def test_the_loop_runs_until_told_to_stop(world):
    stop, called = threading.Event(), threading.Event()

    def answer():
        called.set()
        return OK

    world.answers = [answer]
    world.submit()
    thread = threading.Thread(target=world.runner.run, args=(stop,))
    thread.start()
    assert called.wait(20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
