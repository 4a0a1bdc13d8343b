"""Pools over the API, the SDK and the command line."""

from __future__ import annotations

import json

import httpx
import pytest

from management import ADMIN
from modelyard import Client
from modelyard.cli.main import main
from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied


def test_pools_are_set_and_listed(url: str) -> None:
    with Client(url, ADMIN) as client:
        client.jobs.submit("train", {"recipe": {}})
        made = client.pools.set("default", cores=1.5, memory_bytes=2**31, jobs=2)
        assert (made.cores, made.jobs, made.share) == (1.5, 2, 1.0)
        (shown,) = client.pools.list()
        assert (shown.cores, shown.memory_bytes, shown.waiting, shown.platform_cores) == (1.5, 2**31, 1, 4.0)
        with pytest.raises(NotFound, match="no workspace 'nowhere'"):
            client.pools.set("nowhere", cores=1)
        with pytest.raises(InvalidRequest, match="share"):
            client.pools.set("default", share=0)


def test_only_administrators_set_them_and_everybody_sees_the_own(url: str) -> None:
    with Client(url, ADMIN) as client:
        key = client.keys.create(actions=[Action.READ])
    with Client(url, key.key) as reader:
        assert [pool.workspace for pool in reader.pools.list()] == ["default"]
        with pytest.raises(PermissionDenied):
            reader.pools.set("default", cores=1)


def test_the_terminal_shows_and_sets_them(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert not ended.value.code
        return capsys.readouterr().out

    assert run("pools", "set", "default", "--cores", "2", "--memory", "8") == "Jobs of workspace default may hold 2 cores, 8 GiB.\n"
    assert "2 of 4" in run("pools", "list")
    assert json.loads(run("pools", "list", "--json"))[0]["memory_bytes"] == 8 * 2**30
    assert run("pools", "set", "default") == "Jobs of workspace default may hold whatever is free.\n"


def test_a_job_may_ask_for_cores_and_gpus(http: httpx.Client) -> None:
    body = {"kind": "train", "spec": {"recipe": {}}, "limits": {"cores": 1.5, "gpus": 1}}
    assert http.post("/api/v1/jobs", json=body).json()["limits"] == {"wall_seconds": 0.0, "cores": 1.5, "gpus": 1}
    body["limits"] = {"cores": -1}
    assert http.post("/api/v1/jobs", json=body).status_code == 400
