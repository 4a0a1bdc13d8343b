"""Files and batches with the official client, worked off turn by turn against a real socket, as jobs do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from integration.language.live_language import KEY, LiveLanguage
from integration.live import TWO, WIDE
from modelyard.core.clock import SystemClock
from modelyard.core.usage import CallKind
from modelyard.protocols.openai.routes import PROTOCOL, batch_protocol
from modelyard.serving.batches.files import BatchFiles
from modelyard.serving.batches.lines import kept_answers
from modelyard.serving.batches.work import Turn, WorkOptions
from modelyard.testing.language_model import RepeatingModel

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return BatchFiles(tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def live(files, tmp_path_factory):
    with ThreadPoolExecutor(2) as threads:
        protocols = (PROTOCOL, batch_protocol(files, SystemClock(), 1 << 20, threads))
        with LiveLanguage(tmp_path_factory.mktemp("live"), RepeatingModel(context_length=4096), protocols) as live:
            yield live


def client_of(live, key=KEY):
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(live):
    with client_of(live) as client:
        yield client


def line(number, url=CHAT, **body):
    asked = {"model": "demo", "messages": [{"role": "user", "content": f"word{number}"}], "max_tokens": 1, **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": asked}


def upload(client, lines):
    content = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    return client.files.create(file=("calls.jsonl", content.encode()), purpose="batch")


def options(live, **more):
    return WorkOptions(url=live.url, headers={"authorization": f"Bearer {KEY}"}, **more)


def work(live, files, made, **more):
    return Turn(files, files.batch(1, made.id), options(live, **more), SystemClock(), lambda _: None).run()


def told(client, file_id):
    return [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


def test_a_file_is_kept_listed_read_and_deleted(client):
    made = [upload(client, [line(number)]) for number in range(3)]
    assert (made[0].filename, made[0].purpose, made[0].status) == ("calls.jsonl", "batch", "processed")
    assert client.files.retrieve(made[0].id) == made[0]
    assert json.loads(client.files.content(made[0].id).text) == line(0)
    assert [file.id for file in client.files.list(limit=2, purpose="batch")][:3] == [file.id for file in reversed(made)]
    assert next(iter(client.files.list(order="asc", limit=1))).id == made[0].id
    assert client.files.delete(made[1].id).deleted
    with pytest.raises(openai.NotFoundError, match="no file") as caught:
        client.files.retrieve(made[1].id)
    assert caught.value.code == "not_found"
    with pytest.raises(openai.BadRequestError, match="purpose must be 'batch'"):
        client.files.create(file=b"x", purpose="fine-tune")
    with pytest.raises(openai.APIStatusError, match="may take 1 MiB together"):
        client.files.create(file=b"x" * (1 << 20), purpose="batch")
    timed = client.files.create(file=b"{}", purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert timed.expires_at - timed.created_at == 3600


def test_files_are_of_the_key_that_brought_them(live, client):
    mine = upload(client, [line(1)])
    with client_of(live, TWO) as other, client_of(live, WIDE) as whole:
        assert mine.id not in {file.id for file in other.files.list()}
        with pytest.raises(openai.NotFoundError):
            other.files.content(mine.id)
        with pytest.raises(openai.NotFoundError):
            other.batches.create(input_file_id=mine.id, endpoint=CHAT, completion_window="24h")
        assert whole.files.retrieve(mine.id) == mine
    with client_of(live, "my_nobody") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.files.list()


def test_every_line_is_answered_once_and_paid_for(live, files, client):
    before = len([record for record in live.records() if record.kind is CallKind.GENERATE])
    lines = [line(number) for number in range(40)] + [line(40, model="nothing"), line(41, temperature=9)]
    made = client.batches.create(input_file_id=upload(client, lines).id, endpoint=CHAT, completion_window="24h", metadata={"for": "test"})
    assert (made.status, made.metadata) == ("validating", {"for": "test"})
    with pytest.raises(openai.ConflictError, match="has not ended"):
        client.files.delete(made.input_file_id)
    assert work(live, files, made)
    done = client.batches.retrieve(made.id)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 40, 2)
    good, bad = told(client, done.output_file_id), told(client, done.error_file_id)
    assert [one["custom_id"] for one in good] == [f"line-{number}" for number in range(40)]
    assert [one["response"]["body"]["choices"][0]["message"]["content"] for one in good] == [f"word{number}" for number in range(40)]
    assert [(one["custom_id"], one["response"]["status_code"]) for one in bad] == [("line-40", 404), ("line-41", 400)]
    assert "temperature is 9" in bad[1]["response"]["body"]["error"]["message"]
    assert len({one["id"] for one in good + bad}) == 42
    until = time.monotonic() + 20
    while time.monotonic() < until:
        paid = [record for record in live.records() if record.kind is CallKind.GENERATE][before:]
        if sum(record.tokens_out for record in paid) == 40:
            break
        time.sleep(0.05)
    assert sum(record.tokens_out for record in paid) == 40
    assert work(live, files, made)  # a second time changes nothing
    assert client.batches.retrieve(made.id) == done


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/completions", {"model": "demo", "prompt": "a b", "max_tokens": 2}),
        ("/v1/responses", {"model": "demo", "input": "a b", "max_output_tokens": 2}),
        ("/v1/embeddings", {"model": "demo", "input": "a"}),
    ],
)
def test_each_endpoint_takes_its_own_lines(live, files, client, url, body):
    made = client.batches.create(
        input_file_id=upload(client, [{"custom_id": "one", "method": "POST", "url": url, "body": body}]).id,
        endpoint=url,
        completion_window="1h",
    )
    assert work(live, files, made)
    done = client.batches.retrieve(made.id)
    if url == "/v1/embeddings":  # this deployment generates, and says so
        assert "does not turn texts into vectors" in told(client, done.error_file_id)[0]["response"]["body"]["error"]["message"]
    else:
        assert told(client, done.output_file_id)[0]["response"]["status_code"] == 200


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        (["{"], "invalid_json_line", 1),
        ([line(1), "", line(1)], "duplicate_custom_id", 3),
        ([line(1, url="/v1/completions")], "mismatched_url", 1),
        ([line(1, stream=True)], "invalid_body", 1),
        ([{**line(1), "method": "GET"}], "invalid_method", 1),
        ([{**line(1), "custom_id": ""}], "missing_custom_id", 1),
        ([{**line(1), "body": [1]}], "invalid_body", 1),
        ([""], "empty_file", None),
    ],
)
def test_a_file_with_a_bad_line_is_refused_whole(live, files, client, lines, code, number):
    made = client.batches.create(input_file_id=upload(client, lines).id, endpoint=CHAT, completion_window="24h")
    assert work(live, files, made)
    done = client.batches.retrieve(made.id)
    assert (done.status, done.output_file_id) == ("failed", None)
    assert [(fault.code, fault.line) for fault in done.errors.data] == [(code, number)]


def test_what_cannot_be_a_batch_is_refused_at_once(client):
    file = upload(client, [line(1)])
    for asked, said in (
        ({"endpoint": "/v1/images"}, "no endpoint"),
        ({"completion_window": "soon"}, "no duration"),
        ({"completion_window": "30d"}, "up to 7d"),
        ({"metadata": {"a": "b" * 600}}, "metadata holds"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            client.batches.create(**{"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **asked})
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.NotFoundError, match="no batch"):
        client.batches.retrieve("batch_none")


def test_batches_are_listed_page_by_page(client):
    made = [client.batches.create(input_file_id=upload(client, [line(1)]).id, endpoint=CHAT, completion_window="24h") for _ in range(3)]
    assert [batch.id for batch in client.batches.list(limit=1)][:3] == [batch.id for batch in reversed(made)]
    page = client.batches.list(limit=2)
    assert (len(page.data), page.has_more) == (2, True)


def test_a_turn_ends_and_the_next_goes_on(live, files, client):
    made = client.batches.create(
        input_file_id=upload(client, [line(number) for number in range(30)]).id, endpoint=CHAT, completion_window="24h"
    )
    turns = 1
    while not work(live, files, made, turn_seconds=0.0, concurrency=4):
        turns += 1
        assert turns < 40
    assert turns > 3
    done = client.batches.retrieve(made.id)
    assert [one["custom_id"] for one in told(client, done.output_file_id)] == [f"line-{number}" for number in range(30)]


def test_time_that_is_over_leaves_the_rest_unanswered(live, files, client):
    made = client.batches.create(
        input_file_id=upload(client, [line(1), line(2, max_tokens=1)]).id, endpoint=CHAT, completion_window="0.001s"
    )
    time.sleep(0.01)
    assert work(live, files, made)
    done = client.batches.retrieve(made.id)
    assert done.status == "expired"
    assert done.expired_at
    answered = told(client, done.output_file_id) if done.output_file_id else []
    given_up = told(client, done.error_file_id) if done.error_file_id else []
    assert sorted(one["custom_id"] for one in answered + given_up) == ["line-1", "line-2"]
    assert {one["error"]["code"] for one in given_up} <= {"batch_expired"}


WORKER = """
import sys
from pathlib import Path
from modelyard.core.clock import SystemClock
from modelyard.serving.batches.files import BatchFiles
from modelyard.serving.batches.work import Turn, WorkOptions

root, batch, url, key = sys.argv[1:]
files = BatchFiles(Path(root))
options = WorkOptions(url=url, headers={"authorization": f"Bearer {key}"}, concurrency=4)
found = files.batch(1, batch)
with files.turn(found) as mine:
    assert mine
    Turn(files, found, options, SystemClock(), lambda _: None).run()
"""


def test_killed_again_and_again_no_line_is_lost_or_told_twice(files, tmp_path):
    with ThreadPoolExecutor(2) as threads:
        protocols = (PROTOCOL, batch_protocol(files, SystemClock(), 1 << 20, threads))
        slow = RepeatingModel(step_s=0.01, context_length=4096)
        with LiveLanguage(tmp_path, slow, protocols) as live, client_of(live) as client:
            lines = [line(number, max_tokens=2) for number in range(60)]
            made = client.batches.create(input_file_id=upload(client, lines).id, endpoint=CHAT, completion_window="24h")
            batch = files.batch(1, made.id)
            arguments = [sys.executable, "-c", WORKER, str(files.data(1, made.input_file_id).parents[2]), made.id, live.url, KEY]
            kept_before = 0
            for _ in range(3):
                process = subprocess.Popen(arguments)
                until = time.monotonic() + 60
                while len(kept_answers(files.answers(batch))[0]) < kept_before + 8:
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.005)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kept_before = len(kept_answers(files.answers(batch))[0])
                with files.answers(batch).open("ab") as answers:
                    answers.write(b'{"at": 7, "custom')  # as a kill within a write leaves it
            assert files.ended(batch) is None
            assert work(live, files, made)
            done = client.batches.retrieve(made.id)
            assert (done.status, done.request_counts.completed) == ("completed", 60)
            assert [one["custom_id"] for one in told(client, done.output_file_id)] == [f"line-{number}" for number in range(60)]
            paid = [record for record in live.records() if record.kind is CallKind.GENERATE and record.status == 200]
            assert 60 <= len(paid) <= 60 + 3 * 4  # only what was under way at a kill was asked once more


def test_a_cancelled_batch_ends_at_once_and_the_engine_stops(files, tmp_path):
    with ThreadPoolExecutor(4) as threads:
        protocols = (PROTOCOL, batch_protocol(files, SystemClock(), 1 << 20, threads))
        slow = RepeatingModel(step_s=0.01, context_length=100_000)
        with LiveLanguage(tmp_path, slow, protocols) as live, client_of(live) as client:
            lines = [line(1), line(2, max_tokens=None), line(3, max_tokens=None)]
            made = client.batches.create(input_file_id=upload(client, lines).id, endpoint=CHAT, completion_window="24h")
            working = threads.submit(work, live, files, made)
            until = time.monotonic() + 30
            while client.batches.retrieve(made.id).request_counts.completed < 1:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert client.batches.cancel(made.id).status in {"cancelling", "cancelled"}
            assert working.result(30)
            done = client.batches.retrieve(made.id)
            assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("cancelled", 1, 2)
            assert [one["error"]["code"] for one in told(client, done.error_file_id)] == ["batch_cancelled"] * 2
            with pytest.raises(openai.ConflictError, match="cancelled already"):
                client.batches.cancel(made.id)
            while live.statistics.generation.running and time.monotonic() < until:
                time.sleep(0.01)
            assert not live.statistics.generation.running


def test_overload_is_waited_out(live, files, client):
    made = client.batches.create(input_file_id=upload(client, [line(1)]).id, endpoint=CHAT, completion_window="24h")
    batch = files.batch(1, made.id)
    assert not Turn(
        files,
        batch,
        WorkOptions(url="http://127.0.0.1:9", headers={}, turn_seconds=0.3),  # where nobody listens
        SystemClock(),
        lambda _: None,
    ).run()
    assert client.batches.retrieve(made.id).status == "in_progress"
    assert work(live, files, made)
    assert client.batches.retrieve(made.id).status == "completed"
