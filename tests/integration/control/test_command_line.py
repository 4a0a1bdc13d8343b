"""The command line against the real API, in processes of its own where it matters what reaches which stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from management import ADMIN, Platform, adder
from modelyard.cli.main import main
from modelyard.core.jobs import JobStatus, Progress


@pytest.fixture
def cli(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process: exit status, standard output, standard error."""
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def document(result: tuple[int, str, str]) -> Any:
    """The one JSON document on standard output."""
    status, out, err = result
    assert status == 0, err
    return json.loads(out)


def test_the_life_of_a_model_in_json(cli, model_file: Path, tmp_path: Path) -> None:
    pushed = document(cli("push", str(model_file), "--name", "adder", "--metric", "rmse=2", "--tag", "a=b", "--json"))
    assert (pushed["model"], pushed["version"], pushed["metrics"]) == ("adder", 1, {"rmse": 2.0})
    assert len(pushed["digest"]) == 64
    (tmp_path / "second.onnx").write_bytes(adder(2.0))
    document(cli("push", str(tmp_path / "second.onnx"), "--name", "adder", "--json"))
    assert document(cli("models", "--json"))[0]["latest"] == 2
    assert [version["version"] for version in document(cli("versions", "adder", "--json"))] == [2, 1]
    assert document(cli("show", "adder@1", "--json"))["tags"] == {"a": "b"}
    assert document(cli("compare", "adder@1", "adder@2", "--json"))["same_content"] is False
    assert document(cli("promote", "adder@2", "--alias", "champion", "--json"))["version"] == 2
    deployed = document(cli("deploy", "adder@champion", "--json"))
    assert (deployed["deployment"], deployed["version"]) == ("adder", 2)
    assert deployed["url"].endswith("/v1/deployments/adder/predict")
    document(cli("promote", "adder@1", "--json"))
    assert document(cli("rollback", "adder", "--json"))["version"] == 2
    key = document(cli("keys", "create", "--deployment", "adder", "--expires", "30d", "--json"))
    assert key["key"].startswith("my_")
    assert key["id"] in [found["id"] for found in document(cli("keys", "list", "--json"))]
    assert document(cli("keys", "revoke", key["id"], "--json")) == {"id": key["id"], "revoked": True}
    assert document(cli("status", "--json"))["deployments"][0]["name"] == "adder"
    assert document(cli("undeploy", "adder", "--json"))["deleted"] is True
    assert "removed" in document(cli("gc", "--json"))


def test_the_same_for_people_in_a_pipe(cli, model_file: Path) -> None:
    status, out, _ = cli("push", str(model_file), "--name", "adder", "--metric", "rmse=2")
    assert status == 0
    assert "adder@1" in out
    assert "modelyard deploy adder@1" in out
    for command, words in {
        ("models",): "MODEL",
        ("versions", "adder"): "rmse 2",
        ("show", "adder"): "FP32",
        ("compare", "adder@1", "adder@1"): "same content",
        ("promote", "adder@1"): "adder@champion is now version 1.",
        ("deploy", "adder@champion"): "/v1/deployments/adder/predict",
        ("status",): "adder@champion",
        ("keys", "list"): "never",
        ("jobs",): "",
        ("undeploy", "adder"): "not served",
    }.items():
        status, out, err = cli(*command)
        assert (status, words in out) == (0, True), (command, out, err)


def test_an_alias_that_is_not_set_says_promote(cli, model_file: Path) -> None:
    cli("push", str(model_file), "--name", "adder")
    status, out, err = cli("deploy", "adder@champion")
    assert (status, out) == (1, "")
    assert "modelyard promote adder@1 --alias champion" in err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show", "ader"], 1, "no model 'ader'"),
        (["show", "adder@"], 1, "after '@'"),
        (["push", "missing.onnx"], 1, "no file or folder 'missing.onnx'"),
        (["train", "missing.csv", "--target", "y"], 1, "no file 'missing.csv'"),
        (["train", "rows.csv"], 1, "which column"),
        (["keys", "create", "--expires", "soon"], 1, "30d"),
        (["keys", "create", "--deployment", "nothing"], 1, "no deployment 'nothing'"),
        (["keys", "revoke", "nothing"], 1, "no key 'nothing'"),
        (["logs", "99"], 1, "no job 99"),
        (["undeploy", "nothing"], 1, "no deployment 'nothing'"),
        (["apply", "-f", "missing.yaml"], 1, "missing.yaml"),
        (["predict", "x", "--data", "missing.csv"], 1, "missing.csv"),
        (["restore", "missing.backup"], 1, "missing.backup"),
        (["modles"], 2, "Did you mean 'models'?"),
        (["keys", "lsit"], 2, "list"),
        (["deploy", "adder@1", "--weight", "1", "--weight", "2"], 2, "weights"),
        (["logs", "many"], 1, "no deployment"),
    ],
)
def test_a_mistake_is_one_sentence_on_standard_error(cli, arguments: list[str], status: int, words: str) -> None:
    got, out, err = cli(*arguments)
    assert (got, out) == (status, ""), err
    assert words in err
    assert "Traceback" not in err


def test_without_a_server_it_says_how_to_start_one(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_URL", "http://127.0.0.1:9")
    status, out, err = cli("models", "--json")
    assert (status, out) == (1, "")
    assert "modelyard up --detach" in err


def test_without_a_key_it_says_where_keys_come_from(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_KEY")
    status, _, err = cli("models")
    assert status == 1
    assert "MODELYARD_KEY is not set" in err


def test_training_queues_follows_and_shows_what_came_of_it(cli, platform: Platform, model_file: Path, tmp_path: Path, monkeypatch) -> None:
    cli("push", str(model_file), "--name", "rows", "--metric", "accuracy=0.9")
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n1,2\n")
    (tmp_path / "recipe.yaml").write_text("target: b\nfolds: 9\ndata: rows.csv\n")
    recipe = str(tmp_path / "recipe.yaml")
    queued = document(cli("train", "--recipe", recipe, "--folds", "3", "--family", "ridge", "--no-wait", "--json"))
    with platform.services.store.read() as session:
        spec = session.jobs.get(1, queued["job"]).spec
    assert spec["recipe"] == {"target": "b", "folds": 3, "families": ["ridge"], "name": "rows"}

    submit = platform.services.jobs.submit

    def finished(*arguments: Any, **options: Any) -> Any:
        job = submit(*arguments, **options)
        with platform.services.store.write() as session:
            session.jobs.update(job.id, status=JobStatus.RUNNING, progress=Progress(stage="fit", fraction=0.5))
            return session.jobs.update(job.id, status=JobStatus.SUCCEEDED, result={"model": "rows", "version": 1})

    monkeypatch.setattr(platform.services.jobs, "submit", finished)
    trained = document(cli("train", str(table), "--target", "b", "--json"))
    assert (trained["model"], trained["version"], trained["metrics"]) == ("rows", 1, {"accuracy": 0.9})
    status, out, err = cli("train", str(table), "--target", "b")
    assert (status, "accuracy" in out, "fit" in err) == (0, True, True)
    assert cli("jobs")[1].count("succeeded") == 2
    assert document(cli("cancel", str(queued["job"]), "--json"))["status"] == "cancelled"


def test_the_log_of_a_job_is_copied_out(cli, platform: Platform) -> None:
    table = platform.services.home.temporary / "t.csv"
    table.write_text("a,b\n1,2\n")
    job = document(cli("train", str(table), "--target", "b", "--no-wait", "--json"))["job"]
    folder = platform.services.home.jobs / str(job)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("line é\n" * 60_000)
    assert cli("logs", str(job))[1] == "line é\n" * 60_000
    assert document(cli("logs", str(job), "--json"))["log"] == "line é\n" * 60_000


DECLARED = """
models:
  adder:
    versions:
      - file: adder.onnx
    aliases: {champion: latest}
deployments:
  sums: adder@champion
keys:
  shop: {deployments: [sums], expires: 30d}
"""


def test_apply_shows_the_plan_and_does_it_once(cli, model_file: Path) -> None:
    file = model_file.parent / "modelyard.yaml"
    file.write_text(DECLARED)
    planned = document(cli("apply", "-f", str(file), "--plan", "--json"))
    assert {change["change"] for change in planned["changes"]} == {"create"}
    for options in ([], ["--json"]):
        status, _, err = cli("apply", "-f", str(file), *options)
        assert status == 1
        assert "--yes" in err
    assert document(cli("models", "--json")) == []
    status, out, err = cli("apply", "-f", str(file), "--yes")
    assert status == 0, err
    assert "deployment" in out
    assert "my_" in out
    again = document(cli("apply", "-f", str(file), "--json"))
    assert {change["change"] for change in again["changes"]} == {"unchanged"}


def test_backup_and_restore(cli, model_file: Path, tmp_path: Path) -> None:
    cli("push", str(model_file), "--name", "adder")
    saved = tmp_path / "saved.backup"
    assert document(cli("backup", str(saved), "--json"))["size"] == saved.stat().st_size
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "--force" in cli("backup", str(saved))[2]
    restored = document(cli("restore", str(saved), "--home", str(tmp_path / "new"), "--json"))
    assert restored["rows"] > 0
    assert "not empty" in cli("restore", str(saved), "--home", str(tmp_path / "new"))[2]


def test_a_process_prints_one_json_document_and_nothing_else(url: str, model_file: Path) -> None:
    command = [sys.executable, "-m", "modelyard.cli.main", "push", str(model_file), "--name", "adder", "--json"]
    environment = os.environ | {"MODELYARD_URL": url, "MODELYARD_KEY": ADMIN}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["version"] == 1
    assert "Trying it out" in done.stderr
