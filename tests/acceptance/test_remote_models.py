"""A model that somebody else serves: its key sealed, its calls this platform's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.test_kills import eventually
from modelyard import Client
from modelyard.core.errors import InvalidArtifact, PermissionDenied
from modelyard.testing.platform import RunningPlatform, running_platform
from servers.openai_shaped import OpenAIShaped

SECRET = "sk-upstream-0123456789"
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("remote") / "home", workers=1) as platform:
        yield platform


def write(folder: Path, url: str, sealed: str) -> Path:
    folder.mkdir()
    endpoints = [{"url": url, "model": "m", "sealed_key": sealed}]
    (folder / "remote.json").write_text(json.dumps({"protocol": "open_inference", "endpoints": endpoints, "signature": SIGNATURE}))
    return folder


def kept_answer(platform: RunningPlatform, upstream: OpenAIShaped, body: dict[str, object]) -> bool:
    """Whether the second of two equal calls was answered and recorded as kept, and never reached the endpoint."""
    fresh = json.loads(json.dumps(body))
    fresh["inputs"][0]["data"] = [float(len(upstream.requests)), 0.5]
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    replies = [httpx.post(f"{platform.inference}/v2/models/far/infer", json=fresh, headers=headers, timeout=30) for _ in range(2)]
    asked = [told["inputs"][0]["data"] for _, told in upstream.requests].count(fresh["inputs"][0]["data"])
    assert [reply.json()["outputs"][0]["data"] for reply in replies] == [[2 * item for item in fresh["inputs"][0]["data"]]] * 2
    cached = [platform.json("trace", reply.headers["x-request-id"]).get("cached", False) for reply in replies]
    return (cached, asked) == ([False, True], 1)


def test_a_remote_model_is_called_with_its_sealed_key(platform: RunningPlatform, tmp_path: Path) -> None:
    with OpenAIShaped(key=SECRET) as upstream, Client(platform.url, platform.admin_key) as client:
        done = subprocess.run(
            ["bash", "-c", f"printf %s {SECRET} | {sys.executable} -m modelyard.cli.main seal {upstream.url}"],
            env=platform.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        sealed = done.stdout.strip()
        version = client.push(write(tmp_path / "far", upstream.url, sealed), "far")
        assert (version.artifact.format, version.profile.inline) == ("remote", False)
        client.deploy("far@1", "far")
        client.deployments.wait("far", timeout=60)
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
        headers = {"authorization": f"Bearer {platform.admin_key}"}
        answer = httpx.post(f"{platform.inference}/v2/models/far/infer", json=body, headers=headers, timeout=30)
        assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]
        assert upstream.keys[-1] == f"Bearer {SECRET}"
        with pytest.raises(InvalidArtifact, match="sealed elsewhere or for another host"):
            client.push(write(tmp_path / "stolen", "http://127.0.0.1:9", sealed), "stolen")
        made = client.keys.create(actions=["infer", "read", "develop", "deploy"])
        with Client(platform.url, made.key) as untrusted, pytest.raises(PermissionDenied, match="sends calls to other hosts"):
            untrusted.push(tmp_path / "far", "sly")
        client.deployments.put("far", ["far@1"], policy={"cache": {"seconds": 60}})
        eventually(lambda: kept_answer(platform, upstream, body), 30, "a second call that is the same is answered without the endpoint")
        client.deployments.delete("far")
    kept = [path for path in platform.home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not kept
