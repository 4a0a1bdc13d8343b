"""Of several edits of the same state one is made; the others are told, with 409, what stands now."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import modelyard
from management import ADMIN

EDITORS = 6
Edit = Callable[[int, int], httpx.Response]
"""Number of the editor, and the revision that it has read → the answer."""


@pytest.fixture
def edits(http: httpx.Client, url: str, model_file: Path) -> dict[str, tuple[int, Edit]]:
    """What can be edited: the revision at which it stands, and how."""
    with modelyard.connect(url, ADMIN) as client:
        client.push(model_file, "adder")
        client.deploy("adder@1", "adder", wait=False)
        for name in ("birds", "fish"):
            client.workspaces.create(name)
        client.limits.set("100/min")
        client.members.put("web", ["consumer"], service=True)
    issuer = {"issuer": "https://login.example", "client_id": "first"}
    http.put("/api/v1/providers/corp", json=issuer).raise_for_status()

    def put(path: str, body: Callable[[int], dict[str, Any]], method: str = "PUT") -> Edit:
        return lambda number, revision: http.request(method, f"/api/v1/{path}", json=body(number) | {"revision": revision})

    to = {"model": "adder", "version": "1"}
    roles = [["owner"], ["developer"], ["auditor"], ["owner", "auditor"], ["developer", "auditor"], ["consumer", "auditor"]]
    return {
        "limit": (1, put("limits", lambda number: {"scope": "workspace", "limit": f"{200 + number}/min"})),
        "deployment": (1, put("deployments/adder", lambda number: {"targets": [to | {"weight": 10 + number}]})),
        "member": (1, put("members/web", lambda number: {"roles": roles[number]})),
        "provider": (1, put("providers/corp", lambda number: issuer | {"client_id": f"client-{number}"})),
        # Its name is its address, so of two renames the second finds nothing: here the body is stale, and what stands is told.
        "workspace": (0, put("workspaces/fish", lambda number: {"name": f"fish-{number}"}, "PATCH")),
    }


SAYS = {
    "limit": lambda number: f"{200 + number} requests/minute at revision 2",
    "deployment": lambda number: f"routes to adder@1 with weight {10 + number}",
    "member": lambda number: "at revision 2",
    "provider": lambda number: f"at revision 2 (https://login.example, client client-{number})",
}


@pytest.mark.parametrize("what", SAYS)
def test_of_edits_at_the_same_time_one_is_made_and_the_rest_hear_what_stands(edits: dict[str, tuple[int, Edit]], what: str) -> None:
    revision, edit = edits[what]
    with ThreadPoolExecutor(EDITORS) as pool:
        answers = list(pool.map(lambda number: edit(number, revision), range(EDITORS)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (EDITORS - 1), [answer.text for answer in answers]
    made = next(number for number, answer in enumerate(answers) if answer.status_code == 200)
    for number, answer in enumerate(answers):
        if number != made:
            assert answer.json()["error"]["code"] == "conflict"
            assert SAYS[what](made) in answer.json()["error"]["message"]
    assert edit((made + 1) % EDITORS, revision + 1).status_code == 200, "whoever has read it again may change it"


def test_a_stale_rename_of_a_workspace_is_told_what_it_is_called(edits: dict[str, tuple[int, Edit]]) -> None:
    stale, edit = edits["workspace"]
    refused = edit(1, stale)
    assert refused.status_code == 409
    assert "Workspace 'fish' is at revision 1, not 0" in refused.json()["error"]["message"]
    assert edit(1, 1).json()["name"] == "fish-1"
