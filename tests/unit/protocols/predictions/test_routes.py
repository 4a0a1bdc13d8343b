"""Submitting, fetching and forgetting asynchronous predictions, without a controller."""

import asyncio
import errno
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.clock import ManualClock
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.predictions import create_protocol
from modelyard.serving.prediction_files import Outcome, PredictionFiles, new_id
from modelyard.serving.webhooks import WebhookPolicy
from unit.protocols.fakes import GRANT, FakeExchange, FakePlane, drive, drive_exchange, make_exchange

PLANE = FakePlane(
    Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 1)), TensorSpec(name="t", datatype=Datatype.BYTES, shape=(-1, 1))),
        outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1,)),),
    ),
    lambda given: {"y": np.zeros(len(given["x"]), np.float32)},
)
BASE = "/v1/deployments/demo/predictions"
RECORD = {"x": 1.5, "t": "a"}


@pytest.fixture
def files(tmp_path):
    return PredictionFiles(tmp_path)


def ask(files, method, target, body=b"", kind=b"application/json", grant=GRANT):
    """The answer of a route that answers later, on a loop of its own."""

    async def main():
        answered = asyncio.Event()

        class Exchange(FakeExchange):
            __slots__ = ()

            def respond(self, *answer):
                super().respond(*answer)
                answered.set()

        exchange = make_exchange(method, target, body, {b"content-type": kind}, Exchange)
        protocol = create_protocol(files, ManualClock(), WebhookPolicy())
        drive_exchange(protocol, PLANE, exchange, grant)
        await answered.wait()
        return exchange.answer

    return asyncio.run(main())


def test_a_submission_is_on_the_disk_before_202(files):
    answer = ask(files, "POST", BASE + "?version=1", {"records": [RECORD], "webhook": {"url": "https://example.org/hook?a=b"}})
    assert answer.status == 202
    assert answer.json["status"] == "queued"
    assert answer.headers[b"location"].decode() == answer.json["url"] == f"{BASE}/{answer.json['id']}"
    stored = files.submission(1, answer.json["id"])
    assert (stored.deployment, stored.version, stored.key_id, stored.webhook) == ("demo", "1", 5, "https://example.org/hook?a=b")
    assert json.loads(stored.body) == {"records": [RECORD]}


def test_what_waits_and_what_is_done_can_be_fetched(files):
    made = ask(files, "POST", BASE, {"record": RECORD}).json
    assert ask(files, "GET", made["url"]).json["status"] == "queued"
    files.store(outcome(made["id"], result=msgspec.Raw(b'{"predictions":[{"y":0.0}]}')))
    done = ask(files, "GET", made["url"]).json
    assert (done["status"], done["result"]) == ("succeeded", {"predictions": [{"y": 0.0}]})


def outcome(prediction_id, **more):
    return Outcome(id=prediction_id, workspace_id=1, deployment="demo", status="succeeded", created_ns=1, finished_ns=2, **more)


def test_a_failed_prediction_says_why(files):
    made = ask(files, "POST", BASE, {"record": RECORD}).json
    files.store(msgspec.structs.replace(outcome(made["id"], error=msgspec.Raw(b'{"code":"x","message":"y"}')), status="failed"))
    answer = ask(files, "GET", made["url"])
    assert (answer.status, answer.json["status"], answer.json["error"]) == (200, "failed", {"code": "x", "message": "y"})
    assert "result" not in answer.json


def test_others_and_forgotten_ones_are_not_found(files):
    made = ask(files, "POST", BASE, {"record": RECORD}).json
    stranger = msgspec.structs.replace(GRANT, workspace_id=2)
    assert ask(files, "GET", made["url"], grant=stranger).status == 404
    assert ask(files, "DELETE", made["url"], grant=stranger).status == 404
    assert ask(files, "GET", f"/v1/deployments/other/predictions/{made['id']}").status == 404
    assert ask(files, "GET", f"{BASE}/{new_id(1)}").status == 404
    for wrong in ("..%2F..%2Fx", "x", "0" * 43, "0" * 44 + "%0A", "%00"):
        assert ask(files, "GET", f"{BASE}/{wrong}").status == 404
        assert ask(files, "DELETE", f"{BASE}/{wrong}").status == 404
    assert ask(files, "DELETE", made["url"]).status == 204
    assert ask(files, "GET", made["url"]).status == 404
    assert ask(files, "DELETE", made["url"]).status == 404
    assert files.pending() == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'records'"),
        ({"records": [{"x": "1", "t": "a"}]}, "Record 0"),
        ({"record": RECORD, "webhook": "https://example.org"}, "object with a 'url'"),
        ({"record": RECORD, "webhook": {"url": "ftp://example.org"}}, "http://"),
        ({"record": RECORD, "webhook": {"url": "http://169.254.169.254/x"}}, "not allowed"),
        ({"record": RECORD, "webhook": {"url": "https://example.org", "secert": 1}}, "unknown key"),
    ],
)
def test_what_could_not_be_answered_is_refused_at_once(files, body, said):
    answer = drive(create_protocol(files, ManualClock()), PLANE, "POST", BASE, body)
    assert answer.status == 400
    assert said in answer.json["error"]["message"]
    assert files.pending() == []


def test_csv_is_accepted_and_special_numbers_are_kept(files):
    made = ask(files, "POST", BASE, b"x,t\n,b\n2,NA\n", b"text/csv").json
    assert json.loads(files.submission(1, made["id"]).body)["records"] == [{"x": None, "t": "b"}, {"x": 2.0, "t": None}]
    made = ask(files, "POST", BASE, b'{"record": {"x": -Infinity, "t": "a"}}').json
    assert json.loads(files.submission(1, made["id"]).body)["records"][0]["x"] == float("-inf")


def test_a_full_disk_is_said_plainly(files, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "submit", full)
    answer = ask(files, "POST", BASE, {"record": RECORD})
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"60")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "t", "url", "record", "webhook"]), inner, max_size=3),
)


@settings(max_examples=60)
@given(JSON)
def test_no_wrong_body_is_the_fault_of_the_server(tmp_path_factory, body):
    if isinstance(body, dict) and ("record" in body or "records" in body):
        return
    answer = drive(create_protocol(PredictionFiles(tmp_path_factory.getbasetemp()), ManualClock()), PLANE, "POST", BASE, body)
    assert answer.status == 400
