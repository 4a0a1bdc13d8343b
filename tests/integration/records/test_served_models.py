"""Plain records over a real ONNX model, at once and later."""

import threading

import pytest

from integration.served import Served, classifier, softmax
from modelyard.core.clock import ManualClock
from modelyard.protocols.predictions import create_protocol
from modelyard.protocols.records import PROTOCOL
from modelyard.serving.prediction_files import PredictionFiles
from modelyard.serving.predictions import PredictionRunner
from modelyard.store.database import Store

PREDICT = "/v1/deployments/demo/predict"


@pytest.fixture
def penguins(tmp_path):
    classifier(tmp_path / "model.onnx")
    made = Served(tmp_path / "model.onnx")
    yield made
    made.close()


def test_records_and_csv_give_the_same_answer(penguins):
    records = {"records": [{"mass": 2.0, "island": "Biscoe"}, {"mass": None, "island": None}]}
    answer = penguins.ask(PROTOCOL, "POST", PREDICT + "?version=champion", records).json
    assert (answer["model"], answer["version"]) == ("m", 2)
    first, second = answer["predictions"]
    assert first["label"] == "Gentoo"
    assert list(first["probabilities"]) == ["Adelie", "Gentoo"]
    assert list(first["probabilities"].values()) == pytest.approx(softmax(2.0).tolist(), rel=1e-5)
    assert second == {"label": "Adelie", "probabilities": {"Adelie": 0.5, "Gentoo": 0.5}, "island_bytes": ""}
    table = penguins.ask(PROTOCOL, "POST", PREDICT, b"island,mass\nBiscoe,2\nNA,\n", {b"content-type": b"text/csv"})
    assert table.json["predictions"] == answer["predictions"]


def test_a_deployment_lists_and_describes_itself(penguins):
    assert penguins.ask(PROTOCOL, "GET", "/v1/deployments").json["deployments"][0]["ready"] is True
    said = penguins.ask(PROTOCOL, "GET", "/v1/deployments/demo").json
    assert (said["classes"], said["versions"], said["labels"]) == (["Adelie", "Gentoo"], [2, 1], {"champion": 2})
    document = penguins.ask(PROTOCOL, "GET", "/v1/deployments/demo/openapi.json?version=1").json
    assert document["info"]["version"] == "1"
    example = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert penguins.ask(PROTOCOL, "POST", PREDICT, example).status == 200


def test_submitted_now_it_is_answered_later_as_it_would_have_been_at_once(penguins, tmp_path):
    clock = ManualClock()
    files, store = PredictionFiles(tmp_path / "predictions"), Store.open(f"sqlite:///{tmp_path}/db", clock)
    store.migrate()
    protocol = create_protocol(files, clock)
    records = {"records": [{"mass": 2.0, "island": "Biscoe"}]}
    made = penguins.ask(
        protocol, "POST", "/v1/deployments/demo/predictions?version=1", {**records, "webhook": {"url": "https://example.org"}}
    )
    assert made.status == 202
    assert penguins.ask(protocol, "GET", made.json["url"]).json["status"] == "queued"

    submissions, answers, told = [], [], threading.Event()

    def call(submission):
        submissions.append(submission)
        assert asked.wait(20)
        return answers[0]

    def post(url, headers, body):
        told.set()
        return 200

    asked = threading.Event()
    runner = PredictionRunner(files, store, call, post, secret=b"s", clock=clock)
    runner.tick()
    answer = penguins.ask(PROTOCOL, "POST", PREDICT + "?version=1", files.submission(1, made.json["id"]).body.encode())
    answers.append((answer.status, answer.body))
    asked.set()
    runner.settle()
    runner.tick()
    runner.settle()
    runner.close()
    store.close()
    assert (submissions[0].version, told.is_set()) == ("1", True)
    fetched = penguins.ask(protocol, "GET", made.json["url"]).json
    assert (fetched["status"], fetched["result"]) == ("succeeded", answer.json)
    assert penguins.ask(protocol, "DELETE", made.json["url"]).status == 204
    assert penguins.ask(protocol, "GET", made.json["url"]).status == 404
