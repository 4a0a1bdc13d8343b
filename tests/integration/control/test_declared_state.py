"""``plan`` and ``apply`` over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from management import adder


def upload(http: httpx.Client, amount: float = 1.0) -> str:
    digest: str = http.put("/api/v1/uploads", content=adder(amount)).json()["digest"]
    return digest


def document(http: httpx.Client) -> dict[str, Any]:
    return {
        "models": {
            "adder": {
                "description": "Adds.",
                "versions": [{"files": [{"path": "model.onnx", "digest": upload(http)}]}],
                "aliases": {"champion": "latest"},
            }
        },
        "deployments": {"sums": "adder@champion"},
        "keys": {"shop": {"deployments": ["sums"], "expires": "30d"}},
    }


def changes(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return [(change["change"], f"{change['kind']} {change['name']}") for change in answer.json()["changes"]]


def test_a_plan_changes_nothing_and_apply_does_it_once(http: httpx.Client) -> None:
    body = {"document": document(http)}
    expected = ["model adder", "version adder@1", "alias adder@champion", "deployment sums", "key shop"]
    assert changes(http.post("/api/v1/plan", json=body)) == [("create", name) for name in expected]
    assert http.get("/api/v1/models").json() == []
    done = http.post("/api/v1/apply", json=body)
    assert changes(done) == [("create", name) for name in expected]
    secret = done.json()["keys"][0]["key"]
    caller = httpx.get(f"{http.base_url}/api/v1/whoami", headers={"x-api-key": secret}).json()
    assert caller["deployments"] == ["sums"]
    again = http.post("/api/v1/apply", json=body)
    assert changes(again) == [("unchanged", name) for name in expected]
    assert again.json()["keys"] == []


def test_a_new_version_moves_what_follows_it(http: httpx.Client) -> None:
    wanted = document(http)
    http.post("/api/v1/apply", json={"document": wanted})
    wanted["models"]["adder"]["versions"].append({"files": [{"path": "model.onnx", "digest": upload(http, 2.0)}]})
    assert [change for change in changes(http.post("/api/v1/apply", json={"document": wanted})) if change[0] != "unchanged"] == [
        ("create", "version adder@2"),
        ("update", "alias adder@champion"),
    ]
    assert http.get("/api/v1/models/adder").json()["aliases"] == {"champion": 2}


def test_changed_scopes_issue_a_new_key_and_revoke_the_old(http: httpx.Client) -> None:
    wanted = document(http)
    old = http.post("/api/v1/apply", json={"document": wanted}).json()["keys"][0]
    wanted["keys"]["shop"]["actions"] = ["infer", "read"]
    done = http.post("/api/v1/apply", json={"document": wanted})
    assert ("update", "key shop") in changes(done)
    assert done.json()["keys"][0]["id"] != old["id"]
    assert httpx.get(f"{http.base_url}/api/v1/whoami", headers={"x-api-key": old["key"]}).status_code == 401


def test_pruning_takes_what_is_not_named_and_keeps_administrators_in(http: httpx.Client) -> None:
    wanted = document(http)
    http.post("/api/v1/apply", json={"document": wanted})
    wanted["deployments"], wanted["keys"], wanted["models"]["adder"]["aliases"] = {}, {}, {}
    unpruned = changes(http.post("/api/v1/plan", json={"document": wanted}))
    assert all(change == "unchanged" for change, _ in unpruned)
    done = changes(http.post("/api/v1/apply", json={"document": wanted, "prune": True}))
    assert [change for change in done if change[0] == "delete"] == [
        ("delete", "deployment sums"),
        ("delete", "alias adder@champion"),
        ("delete", "key shop"),
    ]
    assert http.get("/api/v1/whoami").status_code == 200


def test_a_document_that_names_what_is_not_there_is_refused_whole(http: httpx.Client) -> None:
    wanted = document(http)
    wanted["deployments"]["other"] = "ader@1"
    answer = http.post("/api/v1/apply", json={"document": wanted})
    assert answer.status_code == 404
    assert "Did you mean 'adder'?" in answer.json()["error"]["message"]
    assert http.get("/api/v1/models").json() == []


def test_a_misspelt_section_names_itself(http: httpx.Client) -> None:
    answer = http.post("/api/v1/apply", json={"document": {"modells": {}}})
    assert answer.status_code == 400
    assert "document.modells" in answer.json()["error"]["message"]
