"""Two whole platforms, each with a home and workers of its own, on one PostgreSQL and one blob store: they share every long budget."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.graphs import write_adder
from acceptance.test_limits import BODY, BUDGET, Crowd
from modelyard import Client
from modelyard.testing.platform import COMMAND, RunningPlatform, running_platform
from servers import postgres

pytestmark = pytest.mark.timeout(300)
Nodes = tuple[RunningPlatform, RunningPlatform]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with postgres.running() as server:
        yield {"database_url": server.database(), "blob_url": str(tmp_path_factory.mktemp("blobs"))}


@pytest.fixture(scope="module")
def nodes(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    with running_platform(folder / "first", settings=settings) as first:
        with Client(first.url, first.admin_key) as client:
            client.push(write_adder(folder / "adder.onnx", 10.0), "adder")
            client.deploy("adder@1", "adder")
        with running_platform(folder / "second", settings=settings | {"admin_key": first.admin_key}) as second:
            yield first, second


@pytest.fixture
def client(nodes: Nodes) -> Iterator[Client]:
    with Client(nodes[0].url, nodes[0].admin_key) as made:
        yield made


def call(node: RunningPlatform, key: str) -> int:
    return httpx.post(f"{node.inference}/v2/models/adder/infer", content=BODY, headers={"authorization": f"Bearer {key}"}).status_code


def until_known(node: RunningPlatform, key: str, status: int = 200) -> float:
    """Seconds until a node answers a key so."""
    began = time.monotonic()
    while call(node, key) != status:
        assert time.monotonic() - began < 20
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_node_with_another_admin_key_is_refused_and_leaves_the_others_alone(
    settings: dict[str, str], client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (settings | {"home": tmp_path / "home", "admin_key": "quite-another-admin-key"}).items():
        monkeypatch.setenv(f"MODELYARD_{name.upper()}", str(value))
    command = [*COMMAND, "up", "--port", "0", "--management-port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert ended.returncode == 1
    assert "Another node works on this database with another MODELYARD_ADMIN_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert client.whoami()


@pytest.mark.parametrize("limit", ["100/day", "100 requests total"])
def test_both_nodes_together_grant_the_budget_and_no_more(nodes: Nodes, client: Client, limit: str) -> None:
    member = "daily" if "day" in limit else "once"
    client.members.put(member, ["consumer"], service=True)
    limited = client.keys.create(deployments=["adder"], principal=member)
    client.limits.set(limit, scope="principal", subject=member)
    time.sleep(1.0)  # both nodes have published by then
    crowd = Crowd(nodes[0], limited.key, also=nodes[1])
    crowd.run(400)
    granted = crowd.outcomes[200]
    assert granted <= BUDGET, crowd.outcomes
    # What one node holds and does not need comes to the other.
    until = time.monotonic() + 30
    while granted < BUDGET and time.monotonic() < until:
        again = Crowd(nodes[0], limited.key, also=nodes[1])
        again.run(4)
        granted += again.outcomes[200]
    assert granted == BUDGET
    assert {call(node, limited.key) for node in nodes} == {429}


def test_a_key_that_is_revoked_on_one_node_ends_on_both_within_a_second(nodes: Nodes, client: Client) -> None:
    key = client.keys.create(deployments=["adder"])
    for node in nodes:
        until_known(node, key.key)
    began = time.monotonic()
    client.keys.revoke(key.id)
    until_known(nodes[1], key.key, 401)
    assert time.monotonic() - began < 1.0
    assert call(nodes[0], key.key) == 401
