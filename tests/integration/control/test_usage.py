"""Usage, its export and traces over HTTP, by the client and by the command line."""

from __future__ import annotations

import csv
import io
import json
import secrets
import time
from pathlib import Path

import httpx
import pytest
from pyarrow import parquet

import modelyard
from management import ADMIN, Platform
from modelyard.cli.main import main
from modelyard.core.access import Action
from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.usage import CallKind, ProtocolId, UsageStep
from modelyard.gate.journal import Journal
from modelyard.ledger.fold import Folder
from modelyard.sdk.client import Client


@pytest.fixture
def client(url: str):
    with modelyard.connect(url, ADMIN) as made:
        yield made


@pytest.fixture
def used(client: Client, platform: Platform, model_file: Path) -> list[str]:
    """Request ids of three calls of one deployment and one of another, folded."""
    version = client.push(model_file, "adder")
    deployments = [client.deploy("adder@1", name, wait=False) for name in ("adder", "other")]
    assert len(deployments) == 2
    key = client.keys.create(label="web, shop")
    services = platform.services
    with services.store.read() as session:
        ids = {found.name: found.id for found in session.deployments.list(1)}
        found_key = session.keys.get(1, key.id)
    assert found_key is not None
    journal = Journal(services.home.journal, b"b" * 16, 0, segment_bytes=128 * 17)
    prefix, made = secrets.token_bytes(8), []
    for number, name in enumerate(["adder", "adder", "adder", "other"]):
        made.append(prefix + number.to_bytes(8, "big"))
        cost = Cost(rows=2, compute_us=1500, version_id=version.id)
        journal.append((made[-1], 1, found_key.id, ids[name]), 200, cost, ProtocolId.RECORDS, CallKind.INFER, 10, 20)
    journal.close()
    Folder(services.store, services.home.journal, services.clock).fold()
    return [request_id.hex() for request_id in made]


def test_usage_has_names(client: Client, used: list[str]) -> None:
    rows = client.platform.usage(by=["deployment", "key", "version", "protocol", "status", "kind"], since="1h")
    told = [(r.deployment, r.key_label, r.version, r.protocol, r.status, r.kind, r.calls, r.rows, r.compute_us) for r in rows]
    assert told == [
        ("adder", "web, shop", "adder@1", "records", "2xx", "infer", 3, 6, 4500),
        ("other", "web, shop", "adder@1", "records", "2xx", "infer", 1, 2, 1500),
    ]
    for step in UsageStep:
        assert sum(row.calls for row in client.platform.usage(by="deployment", step=step)) == 4
    assert [row.calls for row in client.platform.usage(by=[], deployment="other")] == [1]
    assert client.platform.usage(until="1h") == []


def test_questions_that_make_no_sense_are_refused(client: Client, used: list[str], http: httpx.Client) -> None:
    for wrong in ({"since": "yesterday"}, {"since": "2027-13-01"}, {"by": "minute"}):
        with pytest.raises(InvalidRequest):
            client.platform.usage(**wrong)
    with pytest.raises(NotFound, match="Did you mean 'adder'"):
        client.platform.usage(deployment="addr")
    assert http.get("/api/v1/usage", params={"step": "week"}).status_code == 400
    assert http.get("/api/v1/usage/export", params={"format": "xlsx"}).status_code == 400
    assert http.get("/api/v1/usage/export", params={"by": "nobody"}).status_code == 400


def test_a_key_for_one_deployment_sees_its_usage_only(client: Client, used: list[str], url: str) -> None:
    scoped = client.keys.create(actions=[Action.READ], deployments=["other"])
    with modelyard.connect(url, scoped.key) as limited:
        assert [(row.deployment, row.calls) for row in limited.platform.usage()] == [("other", 1)]
        assert limited.platform.trace(used[3]).deployment == "other"
        with pytest.raises(NotFound):
            limited.platform.trace(used[0])
        with pytest.raises(NotFound):
            limited.platform.usage(deployment="adder")


def test_exports_say_the_same(client: Client, used: list[str], http: httpx.Client) -> None:
    reply = http.get("/api/v1/usage/export", params={"by": "deployment,key", "format": "csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert 'filename="usage.csv"' in reply.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert [(row["deployment"], row["key_label"], row["calls"]) for row in rows] == [
        ("adder", "web, shop", "3"),
        ("other", "web, shop", "1"),
    ]
    file = io.BytesIO()
    assert client.platform.export_usage(file, format="parquet", by=["deployment"], step="day") == len(file.getvalue())
    assert parquet.read_table(file).column("calls").to_pylist() == [3, 1]


def test_a_trace_leads_to_the_version(client: Client, used: list[str]) -> None:
    began = time.time_ns()
    found = client.platform.trace(used[1])
    version = client.models.version("adder@1")
    assert (found.deployment, found.version, found.version_digest, found.source) == (
        "adder",
        "adder@1",
        version.digest,
        version.lineage.source,
    )
    assert (found.job, found.dataset, found.key_label, found.status, found.compute_us) == (0, "", "web, shop", 200, 1500)
    assert began - 60 * 10**9 < found.time_ns < began
    with pytest.raises(NotFound):
        client.platform.trace("0" * 32)
    with pytest.raises(InvalidRequest):
        client.platform.trace("my-own-id")


def test_the_command_line_shows_usage_and_traces(
    url: str, used: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out

    table = run("usage", "--by", "deployment,key", "--since", "7d")
    assert " ".join(table.splitlines()[0].split()) == "DEPLOYMENT KEY CALLS ROWS COMPUTE MS ENERGY J BYTES IN BYTES OUT"
    assert "(web, shop)" in table
    assert json.loads(run("usage", "--json"))[0]["calls"] == 3
    (first, *_) = csv.DictReader(io.StringIO(run("usage", "--step", "day", "--csv")))
    assert (first["deployment"], first["calls"], first["start"][-1]) == ("adder", "3", "Z")
    file = tmp_path / "usage.jsonl"
    assert "Wrote" in run("usage", "--by", "key", "--export", str(file))
    assert [json.loads(line)["calls"] for line in file.read_text().splitlines()] == [4]
    assert "adder@1" in run("trace", used[0])
    assert json.loads(run("trace", used[0], "--json"))["deployment"] == "adder"
    assert run("usage", "--until", "7d") == ""
    key = json.loads(run("usage", "--by", "key", "--json"))[0]["key"]
    for which, calls in ((("--key", key), [3, 1]), (("--deployment", "other"), [1])):
        assert [row["calls"] for row in json.loads(run("usage", "--json", *which))] == calls
        run("usage", "--export", str(file), *which)
        assert [json.loads(line)["calls"] for line in file.read_text().splitlines()] == calls


def test_whoever_may_not_read_usage_sees_their_own_in_the_terminal(
    url: str, used: list[str], client: Client, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MODELYARD_URL", url)
    client.members.put("web", ["consumer"], service=True)
    consumer = client.keys.create(principal="web", actions=[Action.INFER, Action.SELF]).key

    def run(key: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("MODELYARD_KEY", key)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["usage", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    assert "'read' or 'audit'" in run(consumer)[2]
    assert "no usage" in "".join(map(str, run(consumer, "--mine", "--since", "7d")))
    assert "There is no key" in run(consumer, "--mine", "--key", client.keys.list()[0].id)[2]
    mine = json.loads(run(ADMIN, "--mine", "--by", "deployment,key", "--json")[1])
    assert [(row["deployment"], row["key_label"], row["calls"]) for row in mine] == [("adder", "web, shop", 3), ("other", "web, shop", 1)]
    assert [row["calls"] for row in json.loads(run(ADMIN, "--mine", "--deployment", "other", "--json")[1])] == [1]
    for more in ("--shared", "--export=usage.csv"):
        assert "Your own usage is shown" in run(ADMIN, "--mine", more)[2]
