"""The audit log over HTTP, by the client and by the command line; refusals of a right are in it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

import modelyard
from management import ADMIN, Platform
from modelyard.cli.main import main
from modelyard.core.access import Action
from modelyard.core.errors import PermissionDenied
from modelyard.core.events import AuditFault
from modelyard.ledger.refusals import ACTION, SIGN_IN
from modelyard.sdk.client import Client


@pytest.fixture
def client(url: str):
    with modelyard.connect(url, ADMIN) as made:
        yield made


@pytest.fixture
def reader(client: Client, url: str):
    """A client whose key may only read, and that key's public id."""
    key = client.keys.create(actions=[Action.READ])
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key.key}"}) as http:
        yield http, key.id


def refusals(client: Client, platform: Platform) -> list:
    platform.take_refusals()
    return [event for event in client.platform.audit() if event.action == ACTION]


def test_a_refusal_is_recorded_with_who_what_why_and_from_where(
    client: Client, platform: Platform, reader: tuple[httpx.Client, str]
) -> None:
    http, public_id = reader
    assert http.delete("/api/v1/deployments/iris", headers={"x-request-id": "r-1"}).status_code == 403
    (event,) = refusals(client, platform)
    assert (event.actor, event.subject, event.request_id) == (f"key:{public_id}", "DELETE /api/v1/deployments/iris", "r-1")
    assert event.address == "127.0.0.1"
    assert "'deploy'" in event.after["reason"]
    assert client.platform.verify_audit().findings == ()


def test_other_errors_are_no_refusals(client: Client, platform: Platform, reader: tuple[httpx.Client, str]) -> None:
    http, _ = reader
    assert http.get("/api/v1/models/none").status_code == 404
    assert http.get("/api/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert refusals(client, platform) == []


def test_who_goes_on_is_counted_and_fills_no_log(client: Client, platform: Platform, reader: tuple[httpx.Client, str]) -> None:
    http, _ = reader
    for number in range(30):
        assert http.delete(f"/api/v1/deployments/made-up-{number}").status_code == 403
        if number % 10 == 9:
            platform.take_refusals()
    assert http.post("/api/v1/keys", json={}).status_code == 403
    told = refusals(client, platform)
    # What came while rows were held back is counted with the next one.
    assert [event.subject for event in told] == ["POST /api/v1/keys", "DELETE /api/v1/deployments/made-up-0"]
    assert told[1].after["times"] == 10


def test_a_key_from_another_network_and_failed_sign_ins_are_recorded(client: Client, platform: Platform, url: str) -> None:
    key = client.keys.create(networks=["10.0.0.0/8"])
    headers = {"authorization": f"Bearer {key.key}", "x-request-id": "r-2"}
    assert httpx.get(f"{url}/api/v1/me", headers=headers).status_code == 403
    client.people.add("ana")
    for name in ("ana", "ana", "made-up-1", "made-up-2"):
        assert httpx.post(f"{url}/api/v1/sign-in", json={"name": name, "password": "wrong"}).status_code == 401
    assert httpx.post(f"{url}/api/v1/sign-in/password", json={"token": "x", "password": "correct horse"}).status_code == 401
    (event,) = refusals(client, platform)
    assert (event.actor, event.subject, event.request_id, event.address) == (f"key:{key.id}", "GET /api/v1/me", "r-2", "127.0.0.1")
    failed = {(event.actor, event.subject): event.after["times"] for event in client.platform.audit() if event.action == SIGN_IN}
    assert failed == {("person:ana", "ana"): 2, ("nobody", "made-up-1"): 2, ("nobody", "/api/v1/sign-in/password"): 1}
    assert "wrong" not in "".join(str(event.after).replace("is wrong", "") for event in client.platform.audit() if event.action == SIGN_IN)


def test_a_caller_is_refused_even_when_that_cannot_be_recorded(
    client: Client,
    platform: Platform,
    reader: tuple[httpx.Client, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_file: object, _lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("modelyard.store.line_files.LineFile.append", full)
        assert reader[0].post("/api/v1/keys", json={}).status_code == 403
        platform.take_refusals()
        assert "cannot be written down for the audit log" in caplog.text
        assert refusals(client, platform) == []
    assert len(refusals(client, platform)) == 1


def test_only_administrators_see_the_log(reader: tuple[httpx.Client, str]) -> None:
    for path in ("", "/verify", "/export", "/key"):
        assert reader[0].get(f"/api/v1/audit{path}").status_code == 403


def test_what_happens_behind_the_platforms_back_is_named(client: Client, platform: Platform) -> None:
    for number in range(3):
        client.keys.create(label=f"k{number}")
    platform.services.audit.sign()
    report = client.platform.verify_audit()
    assert (report.findings, report.heads, report.signer) == ((), 1, client.platform.audit_key())
    newest = client.platform.audit(limit=1)[0].id
    with platform.services.store.write() as session:
        session.connection.execute(text("DROP TRIGGER audit_no_delete"))
        session.connection.execute(text(f"DELETE FROM audit WHERE id = {newest}"))
    (finding,) = client.platform.verify_audit().findings
    assert (finding.fault, finding.event_id) == (AuditFault.REMOVED, newest)


def test_the_command_line_lists_checks_and_exports(
    url: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_KEY", ADMIN)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["audit", *arguments])
        return int(ended.value.code or 0), capsys.readouterr().out

    client.keys.create(label="one")
    assert "key.create" in run("list")[1]
    file = tmp_path / "audit.jsonl"
    assert run("export", str(file))[0] == 0
    public_key = run("key")[1].strip()
    assert run("verify", str(file), "--trust", public_key)[0] == 0
    assert run("verify", str(file), "--trust", "0" * 64)[0] == 1
    assert run("verify", str(file))[0] == 1
    assert run("verify")[1].strip().endswith("The log is whole.")
    lines = file.read_text().splitlines()
    changed = json.loads(lines[-2])
    changed["event"]["actor"] = "somebody else"
    file.write_text("\n".join([*lines[:-2], json.dumps(changed), lines[-1]]))
    status, said = run("verify", str(file), "--trust", public_key)
    assert (status, "CHANGED: Row" in said, "NOT whole" in said) == (1, True, True)
    file.write_text("not a log\n")
    assert run("verify", str(file), "--trust", public_key)[0] == 1


def test_keys_within_their_rights_are_not_refused(client: Client, platform: Platform, url: str) -> None:
    issuer = client.keys.create(actions=[Action.KEYS, Action.INFER])
    with modelyard.connect(url, issuer.key) as limited, pytest.raises(PermissionDenied):
        limited.keys.create(actions=[Action.ADMIN])
    assert [event.subject for event in refusals(client, platform)] == ["POST /api/v1/keys"]
