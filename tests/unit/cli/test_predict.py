"""Predictions from files, against a listener that is only pretended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from modelyard.cli import predict as module
from modelyard.cli.main import main
from modelyard.sdk.client import Client

VIEW = {"name": "penguins", "targets": [], "state": "ready"}


def answer(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/v1/deployments":
        return httpx.Response(200, json=[VIEW])
    if "/penguins" not in request.url.path:
        return httpx.Response(404, json={"error": {"code": "not_found", "message": "There is no such deployment."}})
    if request.method == "GET":
        return httpx.Response(200, json={"inputs": [{"name": "a"}, {"name": "b"}]})
    if request.headers["content-type"].startswith("text/csv"):
        rows = request.content.decode().splitlines()[1:]
        predictions = [{"label": row, "probabilities": {"x": 0.25, "y": 0.75}} for row in rows]
    else:
        predictions = [{"label": record["a"]} for record in json.loads(request.content)["records"]]
    return httpx.Response(200, json={"predictions": predictions, "model": "penguins", "version": 2})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    @contextmanager
    def connected() -> Iterator[Client]:
        with Client("http://manage", "key", inference_url="http://models", transport=httpx.MockTransport(answer)) as client:
            yield client

    monkeypatch.setattr(module, "connected", connected)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["predict", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_csv_rows_are_sent_without_what_the_model_does_not_take(run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a;target;b\n1;x;2\n3;y;4\n")
    status, out, err = run("penguins", "--data", str(rows), "--json")
    assert status == 0
    assert [row["label"] for row in json.loads(out)["predictions"]] == ["1,2", "3,4"]
    assert json.loads(out)["version"] == 2
    assert "target" in err


def test_for_people_each_class_has_its_column(run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    assert run("penguins", "--data", str(rows))[1].splitlines() == [
        "LABEL  PROBABILITIES.X  PROBABILITIES.Y",
        "1,2    0.25             0.75",
    ]


def test_json_records_are_sent_in_parts(run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"a": index} for index in range(2500)]))
    status, out, err = run("penguins", "--data", str(rows), "--json")
    assert status == 0
    assert [row["label"] for row in json.loads(out)["predictions"]] == list(range(2500))
    assert "Predicting" in err


def test_a_mistyped_deployment_suggests_the_nearest(run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("[{}]")
    status, out, err = run("pengiuns", "--data", str(rows))
    assert (status, out) == (1, "")
    assert "Did you mean 'penguins'?" in err
