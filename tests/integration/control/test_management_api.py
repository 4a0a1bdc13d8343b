"""What the management API does, called over HTTP as anybody would."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from management import ADMIN, UPLOAD_LIMIT, Platform, adder
from modelyard.control.guard import MAX_DOCUMENT_BYTES
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import Unavailable


def push(http: httpx.Client, name: str = "adder", amount: float = 1.0, **body: Any) -> dict[str, Any]:
    digest = http.put("/api/v1/uploads", content=adder(amount)).json()["digest"]
    answer = http.post(f"/api/v1/models/{name}/versions", json={"files": [{"path": "model.onnx", "digest": digest}], **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The sentence of a refusal."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    message: str = answer.json()["error"]["message"]
    assert "Traceback" not in answer.text
    return message


def test_an_upload_is_named_by_its_digest(http: httpx.Client) -> None:
    assert http.put("/api/v1/uploads", content=b"abc").json() == {"digest": hashlib.sha256(b"abc").hexdigest(), "size": 3}


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(http: httpx.Client, platform: Platform) -> None:
    assert "limit" in refused(http.put("/api/v1/uploads", content=b"x" * (UPLOAD_LIMIT + 1)), 413, "too_large")

    def unsized():
        for _ in range(9):
            yield b"x" * (UPLOAD_LIMIT // 8)

    assert refused(http.put("/api/v1/uploads", content=unsized()), 413, "too_large")
    assert list(platform.services.blobs.list()) == []
    assert not list((platform.services.home.blobs / "incoming").iterdir())


def test_a_form_upload_is_refused_with_what_to_do(http: httpx.Client) -> None:
    assert "--data-binary" in refused(http.put("/api/v1/uploads", files={"f": b"x"}), 400, "invalid_request")


def test_a_pushed_model_becomes_a_version_with_an_audit_row(http: httpx.Client) -> None:
    version = push(http, tags={"team": "birds"}, metrics={"accuracy": 0.9}, card={"license": "CC0-1.0"})
    assert (version["model"], version["number"], version["tags"], version["metrics"]) == ("adder", 1, {"team": "birds"}, {"accuracy": 0.9})
    assert version["signature"]["inputs"][0]["name"] == "x"
    events = http.get("/api/v1/audit").json()
    assert events[0]["action"] == "version.create"
    assert events[0]["request_id"]
    assert http.get("/api/v1/models", params={"tag": "team=birds", "metric": "accuracy>0.8", "search": "add"}).json()[0]["latest"] == 1
    assert http.get("/api/v1/models", params={"metric": "accuracy>0.95"}).json() == []


def test_pushing_the_same_again_is_the_same_version(http: httpx.Client) -> None:
    assert push(http)["number"] == push(http)["number"] == 1


def test_a_file_that_is_no_onnx_is_refused_and_nothing_is_stored(http: httpx.Client) -> None:
    digest = http.put("/api/v1/uploads", content=b"not a model at all").json()["digest"]
    answer = http.post("/api/v1/models/bad/versions", json={"files": [{"path": "model.onnx", "digest": digest}]})
    assert refused(answer, 400, "invalid_artifact")
    assert refused(http.get("/api/v1/models/bad"), 404, "not_found")


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a\\b.onnx", "a/../../b"])
def test_files_cannot_be_laid_outside_the_artifact(http: httpx.Client, path: str) -> None:
    digest = http.put("/api/v1/uploads", content=adder()).json()["digest"]
    answer = http.post("/api/v1/models/bad/versions", json={"files": [{"path": path, "digest": digest}]})
    refused(answer, 400, "invalid_artifact")


def test_a_version_of_content_that_is_not_here_says_upload_first(http: httpx.Client) -> None:
    answer = http.post("/api/v1/models/m/versions", json={"files": [{"path": "model.onnx", "digest": "0" * 64}]})
    assert "upload it first" in refused(answer, 400, "invalid_artifact")


def test_files_of_a_version_come_back_as_they_went_in(http: httpx.Client) -> None:
    push(http)
    answer = http.get("/api/v1/models/adder/versions/latest/files/model.onnx")
    assert answer.content == adder()
    assert answer.headers["content-length"] == str(len(adder()))
    assert "attachment" in answer.headers["content-disposition"]
    refused(http.get("/api/v1/models/adder/versions/1/files/other.onnx"), 404, "not_found")
    refused(http.get("/api/v1/models/adder/versions/1/attachments/plot.svg"), 404, "not_found")


def test_aliases_move_and_roll_back(http: httpx.Client) -> None:
    push(http)
    push(http, amount=2.0)
    alias = "/api/v1/models/adder/aliases/champion"
    assert http.put(alias, json={"version": "1"}).json()["number"] == 1
    assert http.put(alias, json={"version": "latest"}).json()["number"] == 2
    assert http.put(alias, json={"version": 1}).json()["number"] == 1
    assert http.put(alias, json={"version": 2}).json()["number"] == 2
    refused(http.put(alias, json={"version": True}), 400, "invalid_request")
    assert http.get("/api/v1/models/adder/versions/-").json()["number"] == 2
    assert http.post(alias + "/rollback").json()["number"] == 1
    assert http.get("/api/v1/models/adder/versions/champion").json()["number"] == 1
    assert http.delete(alias).status_code == 204
    assert "champion" in refused(http.get("/api/v1/models/adder/versions/champion"), 404, "not_found")
    refused(http.put("/api/v1/models/adder/aliases/latest", json={"version": "1"}), 400, "invalid_request")


def test_an_unknown_model_or_version_names_the_nearest(http: httpx.Client) -> None:
    push(http)
    assert "'adder'" in refused(http.get("/api/v1/models/ader"), 404, "not_found")
    assert "newest is 1" in refused(http.get("/api/v1/models/adder/versions/7"), 404, "not_found")


def test_two_versions_are_compared(http: httpx.Client) -> None:
    push(http, metrics={"rmse": 2.0})
    push(http, amount=2.0, metrics={"rmse": 1.0})
    found = http.get("/api/v1/models/adder/compare", params={"a": "1", "b": "adder@2"}).json()
    assert (found["a"], found["b"], found["metrics"][0]["better"]) == ("adder@1", "adder@2", "b")


def test_a_model_is_changed_and_removed(http: httpx.Client) -> None:
    push(http)
    assert http.patch("/api/v1/models/adder", json={"description": "Adds."}).json()["description"] == "Adds."
    assert http.patch("/api/v1/models/adder", json={"tags": {"a": "b"}}).json()["description"] == "Adds."
    assert http.delete("/api/v1/models/adder").status_code == 204
    refused(http.get("/api/v1/models/adder"), 404, "not_found")


def test_a_deployment_is_made_changed_and_removed(http: httpx.Client, platform: Platform) -> None:
    push(http)
    push(http, amount=2.0)
    put = http.put("/api/v1/deployments/adder", json={"targets": [{"model": "adder", "version": "1"}]}).json()
    assert (put["name"], put["versions"], put["revision"]) == ("adder", [1], 1)
    assert put["url"] == f"http://{http.base_url.host}:8000/v1/deployments/adder/predict"
    assert http.get("/api/v1/deployments/adder").json()["state"] == "ready"
    changed = {"targets": [{"model": "adder", "version": "2"}], "revision": 1}
    assert http.put("/api/v1/deployments/adder", json=changed).json()["revision"] == 2
    assert "revision" in refused(http.put("/api/v1/deployments/adder", json=changed | {"revision": 1}), 409, "conflict")
    platform.workers.state, platform.workers.reason = DeploymentState.FAILED, "no memory"
    assert http.get("/api/v1/deployments").json()[0]["reason"] == "adder@2: no memory"
    assert "deployment" in refused(http.delete("/api/v1/models/adder"), 409, "conflict").lower()
    assert http.delete("/api/v1/deployments/adder").status_code == 204
    refused(http.get("/api/v1/deployments/adder"), 404, "not_found")


def test_a_deployment_of_what_is_not_there_is_refused(http: httpx.Client) -> None:
    push(http)
    target = {"model": "adder", "version": "champion"}
    assert "champion" in refused(http.put("/api/v1/deployments/x", json={"targets": [target]}), 404, "not_found")
    refused(http.put("/api/v1/deployments/x", json={"targets": []}), 400, "invalid_request")
    refused(http.put("/api/v1/deployments/Bad Name", json={"targets": [{"model": "adder"}]}), 400, "invalid_request")


def key(http: httpx.Client, **body: Any) -> httpx.Client:
    """A client with a new key."""
    secret = http.post("/api/v1/keys", json=body).json()["key"]
    return httpx.Client(base_url=http.base_url, headers={"x-api-key": secret})


def test_a_key_shows_its_secret_once_and_ends_when_revoked(http: httpx.Client) -> None:
    issued = http.post("/api/v1/keys", json={"label": "shop", "expires_seconds": 3600})
    assert issued.headers["cache-control"] == "no-store"
    secret = issued.json()["key"]
    assert issued.json()["expires_ns"] > 0
    assert secret not in http.get("/api/v1/keys").text
    assert "digest" not in http.get("/api/v1/keys").json()[1]
    caller = httpx.Client(base_url=http.base_url, headers={"authorization": f"Bearer {secret}"})
    with caller:
        assert caller.get("/api/v1/whoami").json()["actions"] == ["infer"]
        assert http.delete(f"/api/v1/keys/{issued.json()['id']}").status_code == 204
        refused(caller.get("/api/v1/whoami"), 401, "unauthenticated")


def test_a_key_does_only_what_it_may(http: httpx.Client) -> None:
    with key(http, actions=["infer"]) as caller:
        assert "'read'" in refused(caller.get("/api/v1/models"), 403, "permission_denied")
        assert "'admin'" in refused(caller.post("/api/v1/gc", json={}), 403, "permission_denied")
        assert refused(caller.get("/api/v1/nowhere"), 404, "not_found")


def test_nobody_hands_out_more_than_they_hold(http: httpx.Client) -> None:
    with key(http, actions=["keys", "infer"]) as caller:
        refused(caller.post("/api/v1/keys", json={"actions": ["admin"]}), 403, "permission_denied")
        assert caller.post("/api/v1/keys", json={"actions": ["infer"]}).status_code == 201


def test_nobody_ends_a_key_with_more_rights_than_theirs(http: httpx.Client) -> None:
    admin = http.get("/api/v1/keys").json()[0]["id"]
    with key(http, actions=["keys", "infer"]) as caller:
        assert "rights" in refused(caller.delete(f"/api/v1/keys/{admin}"), 403, "permission_denied")
        mine = caller.post("/api/v1/keys", json={"actions": ["infer"]}).json()["id"]
        assert caller.delete(f"/api/v1/keys/{mine}").status_code == 204
    assert "last one" in refused(http.delete(f"/api/v1/keys/{admin}"), 409, "conflict")


def test_a_key_for_one_deployment_sees_and_changes_no_other(http: httpx.Client) -> None:
    push(http)
    for name in ("mine", "other"):
        http.put(f"/api/v1/deployments/{name}", json={"targets": [{"model": "adder"}]})
    with key(http, actions=["read", "deploy", "infer"], deployments=["mine"]) as caller:
        assert [view["name"] for view in caller.get("/api/v1/deployments").json()] == ["mine"]
        refused(caller.get("/api/v1/deployments/other"), 403, "permission_denied")
        refused(caller.delete("/api/v1/deployments/other"), 403, "permission_denied")
        refused(
            caller.post("/api/v1/apply", json={"document": {"deployments": {"other": "adder@1", "new": "adder@1"}}}),
            403,
            "permission_denied",
        )


def test_a_key_in_the_address_is_refused(url: str) -> None:
    assert refused(httpx.get(f"{url}/api/v1/whoami", params={"api_key": ADMIN}), 401, "unauthenticated")


def test_jobs_are_queued_listed_and_cancelled(http: httpx.Client) -> None:
    submitted = http.post("/api/v1/jobs", json={"kind": "train", "spec": {"recipe": {}}, "priority": 3})
    assert (submitted.status_code, submitted.json()["status"], submitted.json()["priority"]) == (201, "queued", 3)
    job = submitted.json()["id"]
    assert http.get("/api/v1/jobs", params={"status": "queued"}).json()[0]["id"] == job
    assert http.get(f"/api/v1/jobs/{job}/log").json() == {"text": "", "next_offset": 0}
    assert http.post(f"/api/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    refused(http.post(f"/api/v1/jobs/{job}/cancel"), 409, "conflict")
    refused(http.get("/api/v1/jobs/99"), 404, "not_found")
    refused(http.post("/api/v1/jobs", json={"kind": "trian", "spec": {}}), 400, "invalid_request")
    refused(http.post("/api/v1/jobs", json={"kind": "train", "spec": {}}), 400, "invalid_request")


def test_a_data_set_of_the_same_content_is_the_same_version(http: httpx.Client) -> None:
    first = http.post("/api/v1/datasets", params={"name": "rows", "filename": "../../rows.csv"}, content=b"a,b\n1,2\n")
    assert (first.status_code, first.json()["number"], first.json()["filename"]) == (201, 1, "rows.csv")
    assert http.post("/api/v1/datasets", params={"name": "rows"}, content=b"a,b\n1,2\n").status_code == 200
    assert http.post("/api/v1/datasets", params={"name": "rows"}, content=b"a,b\n1,3\n").json()["number"] == 2
    assert [found["number"] for found in http.get("/api/v1/datasets").json()] == [2, 1]
    refused(http.post("/api/v1/datasets", params={"name": "rows"}, content=b""), 400, "invalid_data")
    refused(http.post("/api/v1/datasets", params={"name": "Not a name"}, content=b"a"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"files": []}, "'files'"),
        ({"files": [{"path": "m.onnx"}]}, "'files.0.digest' is missing"),
        ({"files": [{"path": "m.onnx", "digest": "x"}]}, "'files.0.digest'"),
        ({"files": [{"path": "m.onnx", "digest": "0" * 64}], "formt": "onnx"}, "'formt' is not known"),
        ([], "body"),
    ],
)
def test_a_malformed_body_gets_one_sentence_that_names_the_field(http: httpx.Client, body: Any, words: str) -> None:
    message = refused(http.post("/api/v1/models/m/versions", json=body), 400, "invalid_request")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"version": 1e999}', b"[" * 100_000])
def test_bad_json_is_a_refusal_and_not_a_failure(http: httpx.Client, content: bytes) -> None:
    answer = http.put("/api/v1/models/m/aliases/a", content=content, headers={"content-type": "application/json"})
    refused(answer, 400, "invalid_request")


def test_a_wrong_method_and_an_unknown_path_are_told_to_callers_with_a_key_only(http: httpx.Client, url: str) -> None:
    assert refused(http.get("/api/v1/nowhere"), 404, "not_found")
    assert refused(http.patch("/api/v1/whoami"), 405, "unsupported")
    assert refused(httpx.get(f"{url}/api/v1/nowhere"), 401, "unauthenticated")
    assert refused(httpx.patch(f"{url}/api/v1/whoami"), 401, "unauthenticated")


def test_the_request_id_of_a_caller_is_kept_and_otherwise_made(http: httpx.Client) -> None:
    assert http.get("/livez", headers={"x-request-id": "my-id-1"}).headers["x-request-id"] == "my-id-1"
    assert len(http.get("/livez", headers={"x-request-id": "no good <>"}).headers["x-request-id"]) == 32


def test_health_needs_no_key_and_says_why_not(url: str, platform: Platform) -> None:
    assert httpx.get(f"{url}/livez").status_code == httpx.get(f"{url}/readyz").status_code == 200
    platform.ready = "The snapshot is not published yet."
    answer = httpx.get(f"{url}/readyz")
    assert "snapshot" in refused(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_defect_is_told_by_its_request_id_only(http: httpx.Client, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(platform.services.registry, "model", broken)
    answer = http.get("/api/v1/models/m", headers={"x-request-id": "find-me"})
    message = refused(answer, 500, "internal")
    assert "find-me" in message
    assert "secret detail" not in answer.text
    assert answer.headers["x-request-id"] == "find-me"


def test_retry_after_is_a_header_and_a_field(http: httpx.Client, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise Unavailable("Busy.", retry_after=2.0)

    monkeypatch.setattr(platform.services.registry, "model", busy)
    answer = http.get("/api/v1/models/m")
    assert (answer.headers["retry-after"], answer.json()["error"]["retry_after"]) == ("2", 2.0)


def test_status_metrics_usage_and_the_recipe_schema_answer(http: httpx.Client) -> None:
    assert http.get("/api/v1/status").json()["inference_url"].endswith(":8000")
    assert http.get("/metrics").text == "modelyard_up 1\n"
    assert http.get("/api/v1/usage", params={"since": "2027-01-01T00:00:00Z", "by": "key,version", "step": "day"}).json() == []
    refused(http.get("/api/v1/usage", params={"since": "yesterday"}), 400, "invalid_request")
    assert set(http.get("/api/v1/schemas/recipe").json()["discriminator"]["mapping"]) >= {"table", "images"}


def test_garbage_goes_and_what_is_used_stays(http: httpx.Client) -> None:
    push(http)
    http.put("/api/v1/uploads", content=b"nobody wants me")
    assert http.post("/api/v1/gc", json={"min_age_seconds": 0}).json()["removed"] == 1
    assert http.get("/api/v1/models/adder/versions/1/files/model.onnx").status_code == 200


def test_a_backup_streams_out_and_restores(http: httpx.Client, tmp_path) -> None:
    from modelyard.store.home import Home
    from modelyard.store.restore import restore

    push(http)
    archive = tmp_path / "saved"
    archive.write_bytes(http.post("/api/v1/backup").content)
    manifest = restore(archive, Home(tmp_path / "restored"))
    assert manifest.rows > 0
    assert manifest.missing == ()


def test_the_openapi_document_names_every_answer(http: httpx.Client, url: str) -> None:
    document = http.get("/api/v1/openapi.json").json()
    validate(document)
    assert document["components"]["schemas"].keys() >= {"Version", "DeploymentView", "ErrorBody", "NewJobBody"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
    refused(httpx.get(f"{url}/api/v1/openapi.json"), 401, "unauthenticated")
    assert httpx.get(f"{url}/docs", headers={"authorization": f"Bearer {ADMIN}"}).status_code == 404


def test_a_body_is_not_even_looked_at_without_a_key(url: str) -> None:
    refused(httpx.put(f"{url}/api/v1/models/m/aliases/a", content=b"{"), 401, "unauthenticated")
    refused(httpx.put(f"{url}/api/v1/uploads", content=b"x" * 100_000), 401, "unauthenticated")


def test_a_document_over_the_limit_is_refused_however_it_is_sent(http: httpx.Client) -> None:
    path, body = "/api/v1/models/m/aliases/a", b'{"version": "%s"}' % (b"1" * MAX_DOCUMENT_BYTES)
    headers = {"content-type": "application/json"}
    assert "limit" in refused(http.put(path, content=body, headers=headers), 413, "too_large")
    assert "limit" in refused(http.put(path, content=iter([body[:100], body[100:]]), headers=headers), 413, "too_large")


def test_an_upload_that_breaks_off_leaves_nothing(http: httpx.Client, url: str, platform: Platform) -> None:
    incoming = platform.services.home.blobs / "incoming"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as caller:
        head = f"PUT /api/v1/uploads HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: 500000\r\n\r\n"
        caller.sendall(head.encode() + b"x" * 200_000)
        wait_for(lambda: list(incoming.iterdir()))
    wait_for(lambda: not list(incoming.iterdir()))
    assert list(platform.services.blobs.list()) == []
    assert http.get("/livez").status_code == 200


def wait_for(condition: Callable[[], object]) -> None:
    """Returns once ``condition`` holds, looked at often; the suite's time limit ends what never holds."""
    while not condition():
        time.sleep(0.005)
