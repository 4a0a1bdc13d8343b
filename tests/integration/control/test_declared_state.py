"""``plan`` and ``apply`` over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from management import Platform, adder


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


GOVERNED = {
    "workspaces": ["birds"],
    "members": {"web-shop": {"roles": ["consumer"], "service": True}},
    "limits": [
        {"limit": "1000/min", "deployment": "sums"},
        {"limit": "10/min", "deployment": "sums", "borrower": "birds"},
        {"limit": "100/min", "member": "web-shop"},
        {"limit": "5/s", "key": "shop"},
        {"limit": "10 USD/month"},
        {"limit": "5000/s", "platform": True},
    ],
    "prices": [
        {"currency": "USD", "call": 0.5},
        {"deployment": "sums", "currency": "USD", "call": "0.25", "row": "0.001", "cached_call": 0},
    ],
    "shares": {"sums": ["birds"]},
}
NAMES = [
    "workspace birds",
    "member web-shop",
    "key shop",
    "limit requests/minute for deployment sums",
    "limit requests/minute for share sums/birds",
    "limit requests/minute for principal web-shop",
    "limit requests/second for key shop",
    "limit money/month for workspace",
    "limit requests/second for platform",
    "price every deployment",
    "price sums",
    "share sums with birds",
]


def governed(http: httpx.Client) -> dict[str, Any]:
    found = document(http) | GOVERNED
    found["keys"] = {"shop": {"deployments": ["sums"], "networks": ["127.0.0.0/8"]}}
    return found


def without_models(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(change, name) for change, name in found if not name.startswith(("model", "version", "alias", "deployment"))]


def test_who_may_do_what_and_how_much_is_declared_too(http: httpx.Client) -> None:
    body = {"document": governed(http)}
    assert without_models(changes(http.post("/api/v1/plan", json=body))) == [("create", name) for name in NAMES]
    assert http.get("/api/v1/members").json() == []
    assert without_models(changes(http.post("/api/v1/apply", json=body))) == [("create", name) for name in NAMES]
    assert without_models(changes(http.post("/api/v1/apply", json=body))) == [("unchanged", name) for name in NAMES]
    assert [member["roles"] for member in http.get("/api/v1/members").json()] == [["consumer"]]
    key = next(key for key in http.get("/api/v1/keys").json() if key["label"] == "shop")
    assert key["networks"] == ["127.0.0.0/8"]
    limits = {(limit["scope"], limit["subject"]): limit["amount"] for limit in http.get("/api/v1/limits").json()}
    assert limits["key", key["id"]] == 5
    assert limits["deployment", "sums"] == 1000
    assert limits["share", "sums/birds"] == 10
    assert [price["cached_call"] for price in http.get("/api/v1/prices").json()] == [None, 0]
    assert [(share["deployment"], share["workspace"]) for share in http.get("/api/v1/shares").json()] == [("sums", "birds")]


def test_what_differs_is_changed_and_a_key_that_is_issued_anew_keeps_its_limits(http: httpx.Client) -> None:
    wanted = governed(http)
    http.post("/api/v1/apply", json={"document": wanted})
    wanted["keys"]["shop"]["networks"] = ["10.0.0.0/8"]
    wanted["members"] = {"web-shop": {"roles": ["auditor", "consumer"], "service": True}}
    wanted["limits"] = [{"limit": "7/s", "key": "shop"}, {"limit": "2000/min", "deployment": "sums"}]
    wanted["prices"] = [{"currency": "USD", "call": "0.75"}]
    expected = [
        ("update", "member web-shop"),
        ("update", "key shop"),
        ("create", "limit requests/second for key shop"),
        ("update", "limit requests/minute for deployment sums"),
        ("update", "price every deployment"),
    ]
    assert [change for change in changes(http.post("/api/v1/plan", json={"document": wanted})) if change[0] != "unchanged"] == expected
    done = http.post("/api/v1/apply", json={"document": wanted})
    assert [change for change in changes(done) if change[0] != "unchanged"] == expected
    new = done.json()["keys"][0]["id"]
    assert any(limit["subject"] == new and limit["amount"] == 7 for limit in http.get("/api/v1/limits").json())


def test_pruning_ends_what_sections_do_not_name_and_nothing_else(http: httpx.Client) -> None:
    wanted = governed(http)
    http.post("/api/v1/apply", json={"document": wanted})
    bare = {"members": {}, "limits": [], "shares": {}}
    gone = [change for change in changes(http.post("/api/v1/apply", json={"document": bare, "prune": True})) if change[0] == "delete"]
    assert sorted(gone) == sorted(
        [
            ("delete", "share sums with birds"),
            ("delete", "limit requests/minute for deployment sums"),
            ("delete", "limit requests/minute for principal web-shop"),
            ("delete", "limit requests/second for key shop"),
            ("delete", "limit requests/minute for share sums/birds"),
            ("delete", "limit money/month for workspace"),
            ("delete", "member web-shop"),
        ]
    )
    assert [limit["scope"] for limit in http.get("/api/v1/limits").json()] == ["platform"]
    assert http.get("/api/v1/shares").json() == []
    assert len(http.get("/api/v1/prices").json()) == 2
    assert "birds" in [workspace["name"] for workspace in http.get("/api/v1/workspaces").json()]


def test_a_document_that_cannot_be_changes_nothing_and_says_why(http: httpx.Client) -> None:
    for section, said in (
        ({"limits": [{"limit": "5/s", "key": "nobody's"}]}, "names the key"),
        ({"limits": [{"limit": "5/s", "deployment": "none"}]}, "no deployment 'none' to limit"),
        ({"limits": [{"limit": "5/s"}, {"limit": "6/s"}]}, "twice"),
        ({"limits": [{"limit": "5/s", "member": "a", "deployment": "b"}]}, "several things at once"),
        ({"limits": [{"limit": "5/s", "borrower": "birds"}]}, "no deployment; say of which one"),
        ({"limits": [{"limit": "5/s", "deployment": "none", "borrower": "birds"}]}, "no deployment 'none' to limit"),
        ({"limits": [{"limit": "-5/s"}]}, ""),
        ({"limits": [{"limit": "0/s"}]}, ""),
        ({"prices": [{"deployment": "none", "currency": "USD"}]}, "no deployment 'none' to price"),
        ({"prices": [{"currency": "USD", "call": "-1"}]}, ""),
        ({"shares": {"none": ["birds"]}}, "no deployment 'none' to share"),
        ({"members": {"x": {"roles": []}}}, ""),
        ({"workspaces": ["No Name"]}, "cannot name a workspace"),
    ):
        answer = http.post("/api/v1/apply", json={"document": section})
        assert answer.status_code in {400, 404, 422}, (section, answer.text)
        assert said in answer.json()["error"]["message"], (section, answer.text)
    assert http.get("/api/v1/limits").json() == http.get("/api/v1/prices").json() == []


def test_each_section_needs_its_right(http: httpx.Client) -> None:
    made = http.post("/api/v1/keys", json={"actions": ["read", "infer"]}).json()["key"]
    audits = http.post("/api/v1/keys", json={"actions": ["read", "audit"]}).json()["key"]
    for section in ("members", "limits", "prices", "shares", "workspaces"):
        body = {"document": {section: GOVERNED[section] if section == "workspaces" else type(GOVERNED[section])()}}
        assert http.post("/api/v1/plan", json=body, headers={"authorization": f"Bearer {made}"}).status_code == 403, section
    body = {"document": {"members": GOVERNED["members"]}}
    assert http.post("/api/v1/plan", json=body, headers={"authorization": f"Bearer {audits}"}).status_code == 200
    refused = http.post("/api/v1/apply", json=body, headers={"authorization": f"Bearer {audits}"})
    assert refused.status_code == 403
    assert "'manage'" in refused.json()["error"]["message"]


def test_a_flagged_version_is_served_by_a_document_that_says_so(http: httpx.Client, platform: Platform) -> None:
    wanted = document(http)
    http.post("/api/v1/apply", json={"document": wanted})
    with platform.services.store.write() as session:
        (first,) = session.versions.list(1, "adder")
        report = {"optimization": {"verdict": {"kept": False, "reasons": ["worse: accuracy loses 0.2, more than 0.01"]}}}
        session.versions.add(msgspec.structs.replace(first, id=0, number=0, report=report))
    wanted["models"]["adder"]["aliases"] = {"champion": 1}
    wanted["deployments"] = {"sums": {"targets": [{"model": "adder", "version": "2"}]}}
    refused = http.post("/api/v1/apply", json={"document": wanted})
    assert (refused.status_code, "flagged beside its parent" in refused.text) == (409, True)
    assert http.get("/api/v1/deployments/sums").json()["versions"] == [1]
    wanted["deployments"]["sums"]["accept_flagged"] = True
    assert ("update", "deployment sums") in changes(http.post("/api/v1/apply", json={"document": wanted}))
    assert http.get("/api/v1/deployments/sums").json()["versions"] == [2]
    assert ("unchanged", "deployment sums") in changes(http.post("/api/v1/apply", json={"document": wanted}))


def test_letting_a_model_out_of_its_confinement_takes_the_right_to_trust(http: httpx.Client) -> None:
    wanted = document(http)
    http.post("/api/v1/apply", json={"document": wanted})
    body = {"label": "deployer", "actions": ["infer", "read", "develop", "deploy", "keys"]}
    key = {"authorization": f"Bearer {http.post('/api/v1/keys', json=body).json()['key']}"}
    target = {"targets": [{"model": "adder", "version": "1"}]}
    open_door = target | {"policy": {"replicas": {"reach": "network"}}}
    wanted["deployments"] = {"sums": open_door}
    for refused in (
        http.post("/api/v1/apply", json={"document": wanted}, headers=key),
        http.put("/api/v1/deployments/sums", json=open_door, headers=key),
    ):
        assert (refused.status_code, "needs the right 'trust'" in refused.text) == (403, True)
    assert http.put("/api/v1/deployments/sums", json=target | {"policy": {"replicas": {"reach": "own"}}}, headers=key).status_code == 200
    assert http.post("/api/v1/apply", json={"document": wanted}).status_code == 200
    assert http.get("/api/v1/deployments/sums").json()["policy"]["replicas"]["reach"] == "network"
