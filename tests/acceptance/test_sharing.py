"""What one workspace shares with another: called by every protocol, counted and billed with the caller, under limits of both, and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from modelyard.core.shares import Direction
from modelyard.protocols.open_inference_grpc.stubs import message
from modelyard.testing.platform import RunningPlatform, free_port, running_platform

pytestmark = pytest.mark.timeout(300)
SHARED = "default~adder"
INFER = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
GRPC_PORT = free_port()
POLICY = {"cache": {"seconds": 60}}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("sharing")
    with running_platform(folder / "home", settings={"grpc_port": str(GRPC_PORT)}) as running:
        with Client(running.url, running.admin_key) as owner:
            owner.push(write_adder(folder / "adder.onnx", 10.0), "adder")
            owner.deployments.put("adder", ["adder@1"], policy=POLICY)
            owner.deployments.wait("adder")
            owner.workspaces.create("birds")
        with Client(running.url, running.admin_key, workspace="birds") as borrower:
            borrower.push(write_adder(folder / "other.onnx", 20.0), "adder")
            borrower.deploy("adder@1", "adder")
        yield running


@pytest.fixture
def owner(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key) as made:
        yield made


@pytest.fixture
def borrower(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key, workspace="birds") as made:
        yield made


@pytest.fixture
def caller(platform: RunningPlatform, borrower: Client) -> Iterator[httpx.Client]:
    """A consumer of the borrowing workspace; each call on a connection of its own, so that every worker is met."""
    key = borrower.keys.create(label="consumer").key
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    with httpx.Client(base_url=platform.inference, headers=headers, timeout=30) as made:
        yield made


@pytest.fixture
def shared(owner: Client) -> Iterator[None]:
    assert owner.shares.share("adder", "birds").name == SHARED
    yield
    if owner.shares.list():
        owner.shares.unshare("adder", "birds")


def refused(caller: httpx.Client, name: str) -> tuple[int, str]:
    answer = caller.post(f"/v2/models/{name}/infer", json=INFER)
    return answer.status_code, answer.text.replace(name, "NAME")


def usage_of(client: Client, count: int, **which: object) -> dict[str, int]:
    """Calls by deployment, once the ledger has folded ``count`` of them."""
    until = time.monotonic() + 20
    while True:
        rows = client.platform.usage(**which)
        if sum(row.calls for row in rows) >= count or time.monotonic() > until:
            return {(f"{row.workspace}:" if row.workspace else "") + row.deployment: row.calls for row in rows}
        time.sleep(0.1)


def settled_usage(client: Client) -> dict[str, int]:
    """Calls by deployment, once nothing is left to fold of those before."""
    seen: dict[str, int] = {}
    while (now := usage_of(client, 0)) != seen:
        seen = now
        time.sleep(2.5)  # the ledger is folded every second
    return now


def test_what_is_not_shared_answers_as_what_is_missing(caller: httpx.Client, owner: Client) -> None:
    missing = refused(caller, "default~nothing")
    assert missing[0] == 404
    assert refused(caller, SHARED) == missing == refused(caller, "other~adder")
    # Nor does a share with others, or of another deployment, change that.
    with pytest.raises(NotFound, match="no workspace 'fish'"):
        owner.shares.share("adder", "fish")
    with pytest.raises(NotFound, match="Did you mean 'adder'"):
        owner.shares.share("addr", "birds")
    with pytest.raises(InvalidRequest, match="is this workspace"):
        owner.shares.share("adder", "default")
    with pytest.raises(NotFound, match="not shared with"):
        owner.shares.unshare("adder", "birds")
    assert refused(caller, SHARED) == missing


@pytest.mark.usefixtures("shared")
def test_every_protocol_carries_the_name(platform: RunningPlatform, caller: httpx.Client) -> None:
    infer = caller.post(f"/v2/models/{SHARED}/infer", json=INFER).json()
    assert (infer["model_name"], infer["outputs"][0]["data"]) == (SHARED, [11.0, 12.0])
    assert caller.get(f"/v2/models/{SHARED}").json()["name"] == SHARED
    assert caller.post(f"/v1/models/{SHARED}:predict", json={"instances": [[1, 2]]}).json() == {"predictions": [[11.0, 12.0]]}
    assert caller.post(f"/v1/models/{SHARED}/versions/1:predict", json={"inputs": [[1, 2]]}).json() == {"outputs": [[11.0, 12.0]]}
    assert caller.get(f"/v1/models/{SHARED}").status_code == 200
    assert caller.post(f"/deployments/{SHARED}/invocations", json={"inputs": [[1, 2]]}).json()["predictions"] == [[11.0, 12.0]]
    listed = caller.get("/v1/models").json()["models"]
    assert listed == sorted(["adder", SHARED])
    assert {found["name"] for found in caller.post("/v2/repository/index", json={}).json()} == set(listed)
    assert {found["name"] for found in caller.get("/v1/deployments").json()["deployments"]} == set(listed)
    assert caller.get(f"/v1/deployments/{SHARED}").status_code == 200
    # The model's kind is refused, so the name was found in the body.
    assert caller.post("/v1/embeddings", json={"model": SHARED, "input": "a"}).status_code == 400
    assert caller.post("/v1/embeddings", json={"model": "default~nothing", "input": "a"}).status_code == 404
    # Its own deployment of the same name is another one.
    assert caller.post("/v2/models/adder/infer", json=INFER).json()["outputs"][0]["data"] == [21.0, 22.0]
    with Client(platform.url, caller.headers["authorization"].removeprefix("Bearer ")) as client:
        assert client.inference.describe(SHARED)["name"] == SHARED
        assert np.asarray(client.predict(SHARED, {"x": [[1.0, 2.0]]})["y"]).tolist() == [[11.0, 12.0]]


@pytest.mark.usefixtures("shared")
def test_grpc_and_asynchronous_predictions_carry_it_too(caller: httpx.Client) -> None:
    request = message("ModelInferRequest")(model_name=SHARED, raw_input_contents=[np.array([[1, 2]], np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    key = (("authorization", caller.headers["authorization"]),)
    with grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = message("ModelInferResponse").FromString(infer(request.SerializeToString(), metadata=key, timeout=20, wait_for_ready=True))
    assert answer.model_name == SHARED
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [11.0, 12.0]
    begun = caller.post(f"/v1/deployments/{SHARED}/predictions", json={"records": [{"x": [1.0, 2.0]}]})
    assert begun.status_code == 202, begun.text
    path, until = f"/v1/deployments/{SHARED}/predictions/{begun.json()['id']}", time.monotonic() + 30
    while (found := caller.get(path)).json()["status"] in {"queued", "running"} and time.monotonic() < until:
        time.sleep(0.05)
    assert "11.0" in found.text


@pytest.mark.usefixtures("shared")
def test_calls_count_with_the_caller_and_the_owner_sees_how_many(owner: Client, borrower: Client, caller: httpx.Client) -> None:
    before = {client: settled_usage(client) for client in (owner, borrower)}
    others = usage_of(owner, 0, shared=True).get("birds:adder", 0)
    answer = caller.post(f"/v2/models/{SHARED}/infer", json=INFER)
    for _ in range(4):
        assert caller.post(f"/v2/models/{SHARED}/infer", json=INFER).status_code == 200
    assert usage_of(borrower, sum(before[borrower].values()) + 5)[SHARED] == before[borrower].get(SHARED, 0) + 5
    assert usage_of(owner, 0) == before[owner]
    assert usage_of(owner, 0, shared=True)["birds:adder"] == others + 5
    with pytest.raises(InvalidRequest, match="Whose keys"):
        owner.platform.usage(shared=True, by=["key"])
    request_id = answer.headers["x-request-id"]
    trace = borrower.platform.trace(request_id)
    assert (trace.deployment, trace.version, trace.job, trace.source) == (SHARED, "adder@1", 0, "")
    assert len(trace.version_digest) == 64
    with pytest.raises(NotFound):
        owner.platform.trace(request_id)
    assert usage_of(borrower, 1, deployment=SHARED).keys() == {SHARED}


@pytest.mark.usefixtures("shared")
def test_nothing_that_one_workspace_asked_answers_the_other(platform: RunningPlatform, owner: Client, caller: httpx.Client) -> None:
    """The deployment keeps answers: a kept one would tell that somebody else had asked the same."""
    key = owner.keys.create().key
    body = {"records": [{"x": [float(time.time_ns() % 10_000), 1.0]}]}
    for _ in range(8):  # every worker keeps its own
        httpx.post(f"{platform.inference}/v1/deployments/adder/predict", json=body, headers={"authorization": f"Bearer {key}"})
    fresh = caller.post(f"/v1/deployments/{SHARED}/predict", json=body)
    assert fresh.status_code == 200
    trace = None
    with Client(platform.url, platform.admin_key, workspace="birds") as borrower:
        trace = borrower.platform.trace(fresh.headers["x-request-id"])
    assert not trace.cached


@pytest.mark.usefixtures("shared")
def test_limits_of_both_workspaces_bind(owner: Client, borrower: Client, caller: httpx.Client, platform: RunningPlatform) -> None:
    for client, subject, told in ((owner, "adder", "'adder'"), (borrower, SHARED, repr(SHARED))):
        limit = client.limits.set("2 requests total", scope="deployment", subject=subject)
        try:
            wait_for_limit(caller, told)
            assert any(found.id == limit.id for found in limits_of(platform, caller))
            # The borrower's own limit is nobody else's.
            mine = httpx.post(
                f"{platform.inference}/v2/models/adder/infer",
                json=INFER,
                headers={"authorization": f"Bearer {owner.keys.create().key}"},
            )
            assert mine.status_code == (429 if client is owner else 200)
        finally:
            client.limits.remove(limit.id)
    with pytest.raises(NotFound):
        borrower.prices.set("USD", deployment=SHARED, call="1")


@pytest.mark.usefixtures("shared")
def test_the_owner_caps_one_borrower_alone(
    owner: Client, borrower: Client, caller: httpx.Client, platform: RunningPlatform, tmp_path: Path
) -> None:
    owner.workspaces.create("fish")
    owner.shares.share("adder", "fish")
    told = platform.run("limits", "set", "--deployment", "adder", "--with", "birds", "2 requests total").stdout
    assert "2 requests in total for share adder/birds" in told
    [limit] = owner.limits.list()
    with Client(platform.url, platform.admin_key, workspace="fish") as other:
        free = {"authorization": f"Bearer {other.keys.create().key}"}
    mine = {"authorization": f"Bearer {owner.keys.create().key}"}
    try:
        wait_for_limit(caller, "share 'adder/birds'")
        assert [found.text for found in limits_of(platform, caller)] == ["2 requests in total"]
        url = f"{platform.inference}/v2/models/{{}}/infer"
        for name, headers in ((SHARED, free), ("adder", mine)):
            assert [httpx.post(url.format(name), json=INFER, headers=headers).status_code for _ in range(4)] == [200] * 4
        assert caller.post("/v2/models/adder/infer", json=INFER).status_code == 200, "its own deployment of the name is another one"
        birds = borrower.workspaces.rename("birds", "thrushes")
        assert [found.subject for found in owner.limits.list()] == ["adder/thrushes"]
        assert caller.post(f"/v2/models/{SHARED}/infer", json=INFER).status_code == 429
        assert birds.name == "thrushes"
    finally:
        owner.workspaces.rename("thrushes", "birds")
        owner.limits.remove(limit.id)
        owner.shares.unshare("adder", "fish")
    with pytest.raises(NotFound):
        borrower.limits.set("2/s", scope="share", subject=f"{SHARED}/fish")
    for subject, said in (("adder/default", "is this workspace"), ("adder", "no workspace ''"), ("addr/birds", "Did you mean 'adder'")):
        with pytest.raises((InvalidRequest, NotFound), match=said):
            owner.limits.set("2/s", scope="share", subject=subject)


def wait_for_limit(caller: httpx.Client, told: str) -> None:
    granted, until = 0, time.monotonic() + 20
    while time.monotonic() < until:
        answer = caller.post(f"/v2/models/{SHARED}/infer", json=INFER)
        if answer.status_code == 429:
            assert told in answer.text
            return
        granted += answer.status_code == 200
        time.sleep(0.02)
    raise AssertionError(f"{granted} calls were granted and none refused")


def limits_of(platform: RunningPlatform, caller: httpx.Client) -> tuple[object, ...]:
    with Client(platform.url, caller.headers["authorization"].removeprefix("Bearer ")) as consumer:
        me = consumer.me.get()
        assert me.deployments == ("adder", SHARED)
        return me.limits


@pytest.mark.usefixtures("shared")
def test_the_owner_says_what_it_costs_and_the_caller_pays(owner: Client, borrower: Client, caller: httpx.Client) -> None:
    owner.prices.set("USD", deployment="adder", call="0.5")
    time.sleep(1)  # until every worker and the ledger's minute have it
    limit = borrower.limits.set("1 USD total")
    statuses = []
    until = time.monotonic() + 30
    while statuses.count(429) == 0 and time.monotonic() < until:
        statuses.append(caller.post(f"/v2/models/{SHARED}/infer", json=INFER).status_code)
        time.sleep(0.02)
    borrower.limits.remove(limit.id)
    month = datetime.now(UTC).strftime("%Y-%m")
    until = time.monotonic() + 20
    while not (bill := borrower.platform.invoice(month)).lines and time.monotonic() < until:
        time.sleep(0.1)
    assert {line.deployment for line in bill.lines} == {SHARED}
    assert bill.total >= 1_000_000
    assert bill.currency == "USD"
    assert all(line.deployment != SHARED for line in owner.platform.invoice(month).lines)
    with pytest.raises(Conflict, match="counts in USD"):
        borrower.prices.set("EUR", call="1")


def test_only_who_manages_shares_and_it_is_written_down_on_both_sides(
    platform: RunningPlatform, owner: Client, borrower: Client, caller: httpx.Client
) -> None:
    developer = owner.keys.create(actions=["infer", "read", "deploy", "develop"]).key
    with Client(platform.url, developer) as other, pytest.raises(PermissionDenied, match="manage"):
        other.shares.share("adder", "birds")
    platform.run("share", "adder", "--with", "birds")
    assert SHARED in platform.run("shares").stdout
    assert platform.json("shares")[0]["direction"] == "given"
    [received] = borrower.shares.list()
    assert (received.direction, received.deployment, received.workspace, received.created_by) == (
        Direction.RECEIVED,
        SHARED,
        "default",
        "",
    )
    key = borrower.keys.create(deployments=[SHARED])
    scoped = {"authorization": f"Bearer {key.key}"}
    url = f"{platform.inference}/v2/models/{{}}/infer"
    assert httpx.post(url.format(SHARED), json=INFER, headers=scoped).status_code == 200
    assert httpx.post(url.format("adder"), json=INFER, headers=scoped).status_code == 404
    # Outside of its scope: refused as missing, and told the borrower's audit log.
    until = time.monotonic() + 20
    while time.monotonic() < until and not any(event.action == "right.refused" for event in borrower.platform.audit()):
        time.sleep(0.1)
    [event] = [event for event in borrower.platform.audit() if event.action == "right.refused"]
    assert (event.actor, event.subject) == (f"key:{key.id}", "POST /v2/models/adder/infer")
    platform.run("unshare", "adder", "--with", "birds")
    given, taken = ({event.action: event for event in client.platform.audit(limit=50)} for client in (owner, borrower))
    assert given["share.add"].after == {"workspace": "birds", "name": SHARED}
    assert given["share.end"].before == {"workspace": "birds", "name": SHARED}
    assert (taken["share.receive"].actor, taken["share.receive"].address) == ("workspace:default", "")
    assert taken["share.lose"].subject == SHARED
    assert owner.platform.verify_audit().findings == borrower.platform.verify_audit().findings == ()


def test_an_ended_share_is_refused_everywhere_within_a_second(owner: Client, caller: httpx.Client) -> None:
    owner.shares.share("adder", "birds")
    missing = refused(caller, "default~nothing")
    assert caller.post(f"/v2/models/{SHARED}/infer", json=INFER).status_code == 200
    began = time.monotonic()
    owner.shares.unshare("adder", "birds")
    taken = time.monotonic() - began
    assert [refused(caller, SHARED) for _ in range(20)] == [missing] * 20
    assert taken < 1.0


def test_a_deployment_that_is_removed_is_shared_with_nobody_when_it_is_made_again(owner: Client, caller: httpx.Client) -> None:
    owner.deploy("adder@1", "passing")
    owner.shares.share("passing", "birds")
    assert caller.post("/v2/models/default~passing/infer", json=INFER).status_code == 200
    owner.deployments.delete("passing")
    owner.deploy("adder@1", "passing")
    missing = refused(caller, "default~nothing")
    assert [refused(caller, "default~passing") for _ in range(10)] == [missing] * 10
    assert owner.shares.list() == []
