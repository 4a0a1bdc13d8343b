"""Every route of the management API × every role × own, foreign and missing resources, from one table.

A route without a line here fails the test, and so does a line without a route.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from integration.control.test_every_route_needs_a_key import PUBLIC, SIGNING_IN, routes
from management import Platform
from modelyard.core.access import ALL_ACTIONS, Action, Role
from modelyard.core.deployments import Deployment, Target
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.limits import Measure, Quantity, Scope, Window
from modelyard.core.models import Artifact, ArtifactFile, Card, Dataset, Profile, Version
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.core.signature import Signature
from modelyard.identity.bounds import NewKey
from modelyard.identity.first import administrator
from modelyard.identity.keys import add_key
from modelyard.store.database import Session

EVERYBODY = ("admin", "owner", "developer", "consumer", "auditor")
READERS = ("admin", "owner", "developer")
DEVELOPERS = ("admin", "owner", "developer")
OWNERS = ("admin", "owner")
AUDITORS = ("admin", "owner", "auditor")
SEERS = ("admin", "owner", "developer", "auditor")
ADMINS = ("admin",)


@dataclass(frozen=True)
class Line:
    """What a call of a route shall answer."""

    who: tuple[str, ...]
    """Roles that may; every other is answered 403."""
    status: int
    """What those who may are answered."""
    body: Any = None
    query: dict[str, Any] = field(default_factory=dict)
    foreign: bool = True
    """Whether the path names a resource: then that of another workspace is answered as one that is missing, with 404."""


DELETED = 204
TARGETS = {"targets": [{"model": "m-ROLE", "version": "1"}]}
LINES = {
    "GET /metrics": Line(ADMINS, 200),
    "GET /api/v1/whoami": Line(EVERYBODY, 200),
    "GET /api/v1/status": Line(READERS, 200),
    "GET /api/v1/resources": Line(READERS, 200),
    "POST /api/v1/backup": Line(ADMINS, 200),
    "POST /api/v1/gc": Line(ADMINS, 200, {}),
    "GET /api/v1/schemas/recipe": Line(READERS, 200),
    "GET /api/v1/schemas/policy": Line(READERS, 200),
    "GET /api/v1/openapi.json": Line(EVERYBODY, 200),
    "POST /api/v1/seal": Line(DEVELOPERS, 200, {"url": "https://api.example.com/v1", "secret": "planted"}),
    "GET /api/v1/pools": Line(READERS, 200),
    "PUT /api/v1/pools/{workspace}": Line(ADMINS, 200, {}, foreign=False),
    "GET /api/v1/people": Line(ADMINS, 200),
    "POST /api/v1/people": Line(ADMINS, 201, {"name": "p-ROLE"}),
    "POST /api/v1/people/{name}/invite": Line(ADMINS, 404, foreign=False),
    "PATCH /api/v1/people/{name}": Line(ADMINS, 404, {"disabled": True}, foreign=False),
    "GET /api/v1/providers": Line(ADMINS, 200),
    "PUT /api/v1/providers/{name}": Line(ADMINS, 200, {"issuer": "https://login.example", "client_id": "x"}, foreign=False),
    "DELETE /api/v1/providers/{name}": Line(ADMINS, DELETED, foreign=False),
    # A key is told that these are for people in a session.
    "POST /api/v1/sign-out": Line(EVERYBODY, 400),
    "PUT /api/v1/me/password": Line(EVERYBODY, 400, {"old": "x", "new": "y"}),
    "GET /api/v1/workspaces": Line(EVERYBODY, 200),
    "POST /api/v1/workspaces": Line(ADMINS, 201, {"name": "new-ROLE"}),
    "PATCH /api/v1/workspaces/{name}": Line(ADMINS, 200, {"name": "other"}, foreign=False),
    "DELETE /api/v1/workspaces/{name}": Line(ADMINS, 409, foreign=False),
    "GET /api/v1/members": Line(AUDITORS, 200),
    "GET /api/v1/members/{name}": Line(AUDITORS, 200),
    "PUT /api/v1/members/{name}": Line(OWNERS, 200, {"roles": ["consumer"]}),
    "DELETE /api/v1/members/{name}": Line(OWNERS, DELETED),
    "GET /api/v1/me": Line(EVERYBODY, 200),
    "GET /api/v1/me/usage": Line(EVERYBODY, 200),
    "GET /api/v1/me/keys": Line(EVERYBODY, 200),
    "POST /api/v1/me/keys": Line(EVERYBODY, 201, {"actions": ["self"]}),
    "GET /api/v1/keys/certificates": Line(OWNERS, 200),
    "POST /api/v1/keys/{key_id}/certificates": Line(OWNERS, 201, {"certificate": "subject:CN=ROLE"}),
    "DELETE /api/v1/keys/{key_id}/certificates": Line(OWNERS, DELETED, query={"certificate": "subject:CN=ROLE"}),
    "GET /api/v1/invoices/{month}": Line(SEERS, 200, foreign=False),
    "POST /api/v1/me/keys/{key_id}/rotate": Line(EVERYBODY, 200, {}),
    "POST /api/v1/keys/{key_id}/rotate": Line(OWNERS, 200, {}),
    "DELETE /api/v1/me/keys/{key_id}": Line(EVERYBODY, DELETED),
    "PUT /api/v1/uploads": Line(DEVELOPERS, 200, b"bytes"),
    "GET /api/v1/uploads/{digest}": Line(DEVELOPERS, 200, foreign=False),
    "PATCH /api/v1/uploads/{digest}": Line(DEVELOPERS, 200, b"bytes", {"offset": "0", "size": "5"}, foreign=False),
    "POST /api/v1/datasets": Line(DEVELOPERS, 201, b"a,b\n1,2\n", {"name": "d-ROLE"}),
    "GET /api/v1/datasets": Line(READERS, 200),
    "GET /api/v1/datasets/{name}/{version}/content": Line(READERS, 200),
    "POST /api/v1/jobs": Line(DEVELOPERS, 201, {"kind": "train", "spec": {"recipe": {}}}),
    "GET /api/v1/jobs": Line(READERS, 200),
    "GET /api/v1/jobs/{job}": Line(READERS, 200),
    "GET /api/v1/jobs/{job}/log": Line(READERS, 200),
    "POST /api/v1/jobs/{job}/cancel": Line(DEVELOPERS, 200),
    "POST /api/v1/jobs/{job}/resume": Line(DEVELOPERS, 409, {}),
    "GET /api/v1/models": Line(READERS, 200),
    "GET /api/v1/models/{name}": Line(READERS, 200),
    "PATCH /api/v1/models/{name}": Line(DEVELOPERS, 200, {"description": "mine"}),
    "GET /api/v1/models/{name}/compare": Line(READERS, 200, query={"a": "1", "b": "1"}),
    "PUT /api/v1/models/{name}/aliases/{alias}": Line(DEVELOPERS, 200, {"version": "1"}),
    "POST /api/v1/models/{name}/aliases/{alias}/rollback": Line(DEVELOPERS, 409),
    "DELETE /api/v1/models/{name}/aliases/{alias}": Line(DEVELOPERS, DELETED),
    # The digest names nothing, which is found out only once the caller may push.
    "POST /api/v1/models/{name}/versions": Line(DEVELOPERS, 400, {"files": [{"path": "m.onnx", "digest": "0" * 64}]}, foreign=False),
    "GET /api/v1/models/{name}/versions": Line(READERS, 200),
    "GET /api/v1/models/{name}/versions/{version}": Line(READERS, 200),
    "GET /api/v1/models/{name}/versions/{version}/files/{path:path}": Line(READERS, 200),
    "GET /api/v1/models/{name}/versions/{version}/report": Line(READERS, 404),
    "GET /api/v1/models/{name}/versions/{version}/attachments/{path:path}": Line(READERS, 404),
    "GET /api/v1/deployments": Line(READERS, 200),
    "GET /api/v1/deployments/{name}": Line(READERS, 200),
    # A new deployment under the foreign name is the caller's own; it finds the caller's models alone.
    "PUT /api/v1/deployments/{name}": Line(DEVELOPERS, 200, TARGETS, foreign=False),
    "GET /api/v1/deployments/{name}/rollout": Line(READERS, 200),
    # Nothing is rolled out there.
    "GET /api/v1/deployments/{name}/log": Line(DEVELOPERS, 200),
    "POST /api/v1/deployments/{name}/rollout": Line(DEVELOPERS, 400, {"step": "promote"}),
    "GET /api/v1/shares": Line(SEERS, 200),
    "PUT /api/v1/shares/{deployment}/{workspace}": Line(OWNERS, 200),
    "DELETE /api/v1/shares/{deployment}/{workspace}": Line(OWNERS, DELETED),
    "DELETE /api/v1/deployments/{name}": Line(DEVELOPERS, DELETED),
    "DELETE /api/v1/models/{name}/versions/{version}": Line(DEVELOPERS, DELETED),
    "DELETE /api/v1/models/{name}": Line(DEVELOPERS, DELETED),
    "POST /api/v1/keys": Line(OWNERS, 201, {}),
    "GET /api/v1/keys": Line(OWNERS, 200),
    "DELETE /api/v1/keys/{key_id}": Line(OWNERS, DELETED),
    "GET /api/v1/limits": Line(SEERS, 200),
    "PUT /api/v1/limits": Line(OWNERS, 200, {"scope": "workspace", "limit": "7 concurrent"}),
    "DELETE /api/v1/limits/{limit_id}": Line(OWNERS, DELETED),
    "GET /api/v1/prices": Line(SEERS, 200),
    "POST /api/v1/prices": Line(OWNERS, 201, {"currency": "USD", "call": "1"}),
    "GET /api/v1/usage": Line(SEERS, 200),
    "GET /api/v1/usage/export": Line(SEERS, 200),
    "GET /api/v1/trace/{request_id}": Line(SEERS, 404),
    "GET /api/v1/audit": Line(AUDITORS, 200),
    "GET /api/v1/audit/verify": Line(AUDITORS, 200),
    "GET /api/v1/audit/export": Line(AUDITORS, 200),
    "GET /api/v1/audit/key": Line(AUDITORS, 200),
    "POST /api/v1/plan": Line(READERS, 200, {"document": {"models": {"m-ROLE": {"description": "x"}}}}),
    "POST /api/v1/apply": Line(READERS, 200, {"document": {"models": {"m-ROLE": {"description": "x"}}}}),
}
"""In the order in which a role walks them: what is removed is removed last."""
SETTING_UP = Actor(name="test", workspace_id=1)


class World:
    """Two workspaces with the same kinds of things, and a principal of each role in the first of them."""

    def __init__(self, platform: Platform) -> None:
        self.services = platform.services
        self.keys: dict[str, str] = {}
        self.names: dict[str, dict[str, str]] = {}
        with self.services.store.write() as session:
            self.other = session.workspaces.create("other").id
            for role in EVERYBODY:
                principal = _principal(session, role)
                actions = ALL_ACTIONS if role == "admin" else session.memberships.rights(principal).of(1, principal)
                new = NewKey(actions=tuple(actions))
                _, self.keys[role] = add_key(session, SETTING_UP, 1, principal, new, 1)
                self.names[role] = self._things(session, 1, role, principal)
            self.names["foreign"] = self._things(session, self.other, "foreign", _stranger(session, self.other))
        for which, names in self.names.items():
            actor = Actor(name="test", workspace_id=self.other if which == "foreign" else 1)
            quantity = Quantity(measure=Measure.REQUESTS, window=Window.HOUR, amount=100)
            limit = self.services.limits.set(actor, Scope.DEPLOYMENT, names["deployment"], quantity)
            names["limit_id"] = str(limit.id)

    def _things(self, session: Session, workspace_id: int, which: str, principal: int) -> dict[str, str]:
        model = session.models.ensure(workspace_id, f"m-{which}")
        blob = self.services.blobs.put(io.BytesIO(b"model of " + which.encode()))
        file = ArtifactFile(path="m.onnx", digest=blob.digest, size=blob.size)
        version = Version(
            id=0,
            workspace_id=workspace_id,
            model_id=model.id,
            model=model.name,
            number=0,
            artifact=Artifact(format="onnx", digest=blob.digest, files=(file,), entry="m.onnx"),
            signature=Signature(inputs=(), outputs=()),
            profile=Profile(inline=True),
            card=Card(),
        )
        session.versions.add(version)
        target = Target(model=model.name, version="1")
        session.deployments.add(Deployment(id=0, workspace_id=workspace_id, name=f"s-{which}", targets=(target,)))
        table = Dataset(id=0, workspace_id=workspace_id, name=f"t-{which}", number=0, digest=blob.digest, size=blob.size, filename="t.csv")
        session.datasets.add(table)
        job = session.jobs.add(Job(id=0, workspace_id=workspace_id, kind="train", spec={}))
        key, _ = add_key(session, Actor(name="test", workspace_id=workspace_id), workspace_id, principal, NewKey(actions=(Action.SELF,)), 1)
        service = session.principals.add(Principal(id=0, workspace_id=workspace_id, kind=PrincipalKind.SERVICE, name=f"svc-{which}"))
        session.memberships.put(Membership(id=0, workspace_id=workspace_id, principal_id=service.id, roles=(Role.CONSUMER,)), 0)
        return {
            "model": model.name,
            "deployment": f"s-{which}",
            "member": service.name,
            "key_id": key.public_id,
            "dataset": table.name,
            "job": str(job.id),
            "workspace": "other",
        }


def _principal(session: Session, role: str) -> int:
    if role == "admin":
        return administrator(session).id
    made = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name=role))
    session.memberships.put(Membership(id=0, workspace_id=1, principal_id=made.id, roles=(Role(role),)), 0)
    return made.id


def _stranger(session: Session, workspace_id: int) -> int:
    made = session.principals.add(Principal(id=0, workspace_id=workspace_id, kind=PrincipalKind.SERVICE, name="stranger"))
    session.memberships.put(Membership(id=0, workspace_id=workspace_id, principal_id=made.id, roles=(Role.OWNER,)), 0)
    return made.id


MISSING = {
    "model": "m-missing",
    "deployment": "s-missing",
    "member": "svc-missing",
    "key_id": "0123456789",
    "dataset": "t-missing",
    "job": "987654",
    "limit_id": "987654",
    "workspace": "missing",
}
SAME = {
    "version": "1",
    "alias": "champion",
    "path:path": "m.onnx",
    "request_id": "0" * 32,
    "month": "2026-11",
    "provider": "corp",
    "person": "nobody",
    "digest": "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9",
}


def path_of(route: str, names: dict[str, str]) -> str:
    kind = route.split("/")[3].rstrip("s") if route.count("/") > 3 else ""
    values = SAME | names | {"name": names.get(kind) or "corp"}
    return re.sub(r"\{([^}]*)\}", lambda match: values[match[1]], route.partition(" ")[2])


def said(value: Any, role: str) -> Any:
    """A body with the role's own names."""
    if isinstance(value, str):
        return value.replace("ROLE", role)
    if isinstance(value, dict):
        return {said(name, role): said(item, role) for name, item in value.items()}
    return [said(item, role) for item in value] if isinstance(value, list) else value


def call(
    http: httpx.Client, secret: str, route: str, line: Line, names: dict[str, str], role: str, request_id: str = "matrix"
) -> httpx.Response:
    method = route.partition(" ")[0]
    body = said(line.body, role)
    sent = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
    headers = {"authorization": f"Bearer {secret}", "x-request-id": request_id}
    return http.request(method, path_of(route, names), params=said(line.query, role), headers=headers, **sent)


def test_every_route_answers_every_role_as_the_table_says(platform: Platform, http: httpx.Client) -> None:
    behind = [route for route in routes(platform) if route.path not in PUBLIC and not route.path.startswith(SIGNING_IN)]
    found = {f"{method} {route.path}" for route in behind for method in route.methods}
    assert found == set(LINES), "each route needs its line, and each line its route"
    world, wrong = World(platform), []
    for role in reversed(EVERYBODY):  # whoever may remove things comes after those who may not
        for route, line in LINES.items():
            answer = call(http, world.keys[role], route, line, world.names[role], role)
            expected = line.status if role in line.who else 403
            if answer.status_code != expected:
                wrong.append(f"{role}: {route} answered {answer.status_code} instead of {expected}: {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)


def test_a_foreign_resource_answers_as_a_missing_one(platform: Platform, http: httpx.Client) -> None:
    world, wrong = World(platform), []
    named = {route: line for route, line in LINES.items() if "{" in route and line.foreign}
    assert len(named) > 20
    for role in EVERYBODY:
        for route, line in named.items():
            answers = [call(http, world.keys[role], route, line, names, role) for names in (world.names["foreign"], MISSING)]
            told = [_without_names(answer, names) for answer, names in zip(answers, (world.names["foreign"], MISSING), strict=True)]
            expected = 404 if role in line.who else 403
            if told[0] != told[1] or answers[0].status_code != expected:
                wrong.append(f"{role}: {route}: {told}, expected {expected}")
    assert not wrong, "\n".join(wrong)
    with world.services.store.read() as session:
        assert session.models.get(world.other, "m-foreign") is not None
        assert session.keys.get(world.other, world.names["foreign"]["key_id"]).revoked_ns == 0


def _without_names(answer: httpx.Response, names: dict[str, str]) -> tuple[int, str]:
    text = answer.text
    suggestion = re.search(r" Did you mean '([^']*)'\?", text)
    if suggestion:  # depends on how alike names are; it must be one of the caller's own
        assert not suggestion[1].endswith("-foreign")
        text = text.replace(suggestion[0], "")
    for name in names.values():
        text = text.replace(f"'{name}'", "NAME").replace(f" {name}.", " NAME.").replace(f"/{name}", "/NAME").replace(f"{name}@", "NAME@")
    return answer.status_code, text


def test_lists_show_nothing_of_another_workspace(platform: Platform, http: httpx.Client) -> None:
    world = World(platform)
    names = set(world.names["foreign"].values()) - {"other"}
    for role in EVERYBODY:
        for route, line in LINES.items():
            if route.startswith("GET") and "{" not in route and role in line.who and "audit/export" not in route:
                text = call(http, world.keys[role], route, line, {}, role).text
                shown = [name for name in names if re.search(rf'"{re.escape(name)}"', text)]
                assert not shown, (role, route, shown)


def test_a_stranger_and_somebody_without_a_role_are_nobody(platform: Platform, http: httpx.Client) -> None:
    world = World(platform)
    with world.services.store.write() as session:
        outcast = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name="outcast"))
        _, secret = add_key(session, SETTING_UP, 1, outcast.id, NewKey(actions=tuple(Action)), 1)
    for route, line in LINES.items():
        assert call(http, secret, route, line, world.names["owner"], "owner").status_code == 401, route


def test_only_an_administrator_acts_in_another_workspace(platform: Platform, http: httpx.Client) -> None:
    world = World(platform)
    for role in EVERYBODY:
        for name in ("other", "missing"):
            headers = {"authorization": f"Bearer {world.keys[role]}", "x-modelyard-workspace": name}
            answer = http.get("/api/v1/me", headers=headers)
            assert answer.status_code == (200 if role == "admin" and name == "other" else 404), (role, name)
    headers = {"authorization": f"Bearer {world.keys['admin']}", "x-modelyard-workspace": "other"}
    assert [found["name"] for found in http.get("/api/v1/models", headers=headers).json()] == ["m-foreign"]


UNTOLD = {
    "PUT /api/v1/uploads",  # bytes that nothing refers to yet
    "PATCH /api/v1/uploads/{digest}",
    "POST /api/v1/seal",  # stores nothing
    "POST /api/v1/plan",  # changes nothing
}
"""What is sent and is no change of anything."""
OTHERWISE = {
    "PATCH /api/v1/workspaces/{name}": ({"name": "renamed"}, {"workspace": "third"}),
    "DELETE /api/v1/workspaces/{name}": (None, {"workspace": "fourth"}),
    "PUT /api/v1/members/{name}": ({"roles": ["auditor"]}, {}),
    "PUT /api/v1/deployments/{name}": ({"targets": [{"model": "m-admin", "version": "1", "weight": 7}]}, {}),
    "POST /api/v1/people/{name}/invite": (None, {"people": "p-admin"}),
    "PATCH /api/v1/people/{name}": ({"disabled": True}, {"people": "p-admin"}),
}
"""Bodies and names with which routes change something of which the table asks what is so already, or is not there."""


def test_every_change_is_in_the_audit_log_with_who_from_where_and_in_which_request(platform: Platform, http: httpx.Client) -> None:
    world, wrong, done = World(platform), [], set()
    with world.services.store.write() as session:
        for name in ("third", "fourth"):
            session.workspaces.create(name)
    names = world.names["admin"]
    for number, (route, line) in enumerate(LINES.items()):
        body, others = OTHERWISE.get(route, (line.body, {}))
        if route == "DELETE /api/v1/keys/{key_id}":  # its own is revoked by then
            others = {"key_id": world.names["owner"]["key_id"]}
        answer = call(http, world.keys["admin"], route, replace(line, body=body), names | others, "admin", f"r-{number}")
        if answer.status_code < 300 and not route.startswith("GET") and route not in UNTOLD:
            done.add(route)
    assert done >= OTHERWISE.keys()
    whose = f"key:{world.keys['admin'].split('_')[1]}"
    with world.services.store.read() as session:
        # One that was removed has its last row in the log of whoever removed it.
        spaces = [workspace.id for workspace in session.workspaces.list()]
        rows = [event for workspace_id in spaces for event in session.audit.events(workspace_id)]
        assert [session.audit.first_broken(workspace_id) for workspace_id in spaces] == [0] * len(spaces)
    for number, route in enumerate(LINES):
        told = {(event.actor, event.address) for event in rows if event.request_id == f"r-{number}"}
        if told - {("workspace:default", "")} != ({(whose, "127.0.0.1")} if route in done else set()):
            wrong.append(f"{route} is told as {told}")
    assert not wrong, "\n".join(wrong)
    assert len(done) > 30
