"""Every inference route of every protocol × every kind of caller × every kind of deployment: exactly the declared outcome.

Routes, keys, rights, shares and the snapshot are the real ones; what a route does once it is reached is replaced by a mark. A route
that stands in no list below fails the test, and so does a line without a route.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from management import running
from modelyard.core.access import ALL_ACTIONS, Action, Role
from modelyard.core.clock import SystemClock
from modelyard.core.deployments import Deployment, Target
from modelyard.core.events import Actor
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.core.refusals import Why
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.journal import Journal
from modelyard.gate.refusals import Refusals
from modelyard.identity.bounds import NewKey
from modelyard.identity.keys import add_key, revoke_key
from modelyard.ledger.refusals import refusals_in
from modelyard.protocols.call import Call
from modelyard.protocols.open_inference_grpc.stubs import message as open_inference
from modelyard.protocols.routing import Protocol, Route
from modelyard.protocols.tensorflow_grpc.stubs import message as tensorflow
from modelyard.server.handler import Handler
from modelyard.server.settings import Settings
from modelyard.server.wiring.grpc import STREAMS, UNARY
from modelyard.server.wiring.worker import protocols
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.publisher import SnapshotPublisher
from modelyard.store.database import Session
from modelyard.store.home import Home
from modelyard.store.line_files import LineFile, LineFolder
from modelyard.store.snapshot import SnapshotReader, SnapshotWriter
from unit.protocols.fakes import FakeExchange

REACHED = 299
"""What a route answers that was reached."""
OPEN = """
GET /v2/health/live, GET /v2/health/ready, GET /ping, GET /health, GET /livez, GET /readyz,
POST /inference.GRPCInferenceService/ServerLive, POST /inference.GRPCInferenceService/ServerReady,
POST /grpc.health.v1.Health/Check
"""
"""Health: nobody needs a key."""
GENERAL = """
GET /v2, GET /v2/models/stats, POST /v2/repository/index, GET /v1/deployments, GET /version, GET /v1/models,
GET /v2/systemsharedmemory/status, POST /v2/systemsharedmemory/register, POST /v2/systemsharedmemory/unregister,
GET /v2/systemsharedmemory/region/{region}/status, POST /v2/systemsharedmemory/region/{region}/register,
POST /v2/systemsharedmemory/region/{region}/unregister,
GET /v2/cudasharedmemory/status, POST /v2/cudasharedmemory/register, POST /v2/cudasharedmemory/unregister,
GET /v2/cudasharedmemory/region/{region}/status, POST /v2/cudasharedmemory/region/{region}/register,
POST /v2/cudasharedmemory/region/{region}/unregister,
GET /v2/xpusharedmemory/status, POST /v2/xpusharedmemory/register, POST /v2/xpusharedmemory/unregister,
GET /v2/xpusharedmemory/region/{region}/status, POST /v2/xpusharedmemory/region/{region}/register,
POST /v2/xpusharedmemory/region/{region}/unregister,
GET /v2/trace/setting, GET /v2/logging, POST /v2/trace/setting, POST /v2/logging,
POST /v1/files, GET /v1/files, GET /v1/files/{id}, GET /v1/files/{id}/content, DELETE /v1/files/{id},
POST /v1/batches, GET /v1/batches, GET /v1/batches/{id}, POST /v1/batches/{id}/cancel,
POST /inference.GRPCInferenceService/ServerMetadata, POST /inference.GRPCInferenceService/RepositoryIndex,
POST /grpc.reflection.v1.ServerReflection/ServerReflectionInfo, POST /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo
"""
"""Whoever may call something at all; they name no deployment."""
NAMED = """
POST /v2/repository/models/{name}/load, POST /v2/repository/models/{name}/unload,
GET /v2/models/{name}, GET /v2/models/{name}/ready, GET /v2/models/{name}/config, GET /v2/models/{name}/stats,
POST /v2/models/{name}/infer, POST /v2/models/{name}/generate, POST /v2/models/{name}/generate_stream,
GET /v2/models/{name}/versions/{version}, GET /v2/models/{name}/versions/{version}/ready, GET /v2/models/{name}/versions/{version}/config,
GET /v2/models/{name}/versions/{version}/stats, POST /v2/models/{name}/versions/{version}/infer,
POST /v2/models/{name}/versions/{version}/generate, POST /v2/models/{name}/versions/{version}/generate_stream,
GET /v2/models/{name}/trace/setting, POST /v2/models/{name}/trace/setting,
GET /v1/models/{name}, GET /v1/models/{name}/metadata, POST /v1/models/{name}:predict, POST /v1/models/{name}:classify,
POST /v1/models/{name}:regress, GET /v1/models/{name}/versions/{version}, GET /v1/models/{name}/versions/{version}/metadata,
POST /v1/models/{name}/versions/{version}:predict, POST /v1/models/{name}/versions/{version}:classify,
POST /v1/models/{name}/versions/{version}:regress, GET /v1/models/{name}/labels/{label}, GET /v1/models/{name}/labels/{label}/metadata,
POST /v1/models/{name}/labels/{label}:predict, POST /v1/models/{name}/labels/{label}:classify,
POST /v1/models/{name}/labels/{label}:regress,
POST /v1/deployments/{name}/predict, GET /v1/deployments/{name}/predict, GET /v1/deployments/{name},
GET /v1/deployments/{name}/openapi.json, POST /v1/deployments/{name}/feedback,
POST /deployments/{name}/invocations, GET /deployments/{name}/ping, GET /deployments/{name}/health,
POST /deployments/{name}/embed, POST /deployments/{name}/similarity, POST /deployments/{name}/rerank, POST /deployments/{name}/predict,
POST /deployments/{name}/embed_all, POST /deployments/{name}/tokenize, POST /deployments/{name}/decode,
GET /deployments/{name}/info
"""
"""Whoever may call the deployment in the path; public ones are for everybody."""
KEYED = """
POST /v1/deployments/{name}/predictions, GET /v1/deployments/{name}/predictions/{id}, DELETE /v1/deployments/{name}/predictions/{id}
"""
"""The same, but with a key in any case."""
IN_BODY = """
POST /v1/chat/completions, POST /v1/completions, POST /v1/responses, POST /v1/embeddings, POST /tokenize, POST /detokenize,
POST /v1/messages, POST /v1/messages/count_tokens,
POST /inference.GRPCInferenceService/ModelReady, POST /inference.GRPCInferenceService/ModelMetadata,
POST /inference.GRPCInferenceService/ModelConfig, POST /inference.GRPCInferenceService/ModelStatistics,
POST /inference.GRPCInferenceService/RepositoryModelLoad, POST /inference.GRPCInferenceService/RepositoryModelUnload,
POST /inference.GRPCInferenceService/ModelInfer, POST /inference.GRPCInferenceService/ModelStreamInfer,
POST /tensorflow.serving.PredictionService/Predict, POST /tensorflow.serving.PredictionService/Classify,
POST /tensorflow.serving.PredictionService/Regress, POST /tensorflow.serving.PredictionService/MultiInference,
POST /tensorflow.serving.PredictionService/GetModelMetadata, POST /tensorflow.serving.ModelService/GetModelStatus
"""
"""As in the path, but the body names the deployment."""
IN_SCOPE = "GET /info, POST /invocations, POST /decode, POST /embed, POST /embed_all, POST /similarity, POST /rerank, POST /predict"
"""The deployment is the one that the key is scoped to."""
DECLARED = {
    "OPEN": OPEN,
    "GENERAL": GENERAL,
    "NAMED": NAMED,
    "KEYED": KEYED,
    "IN_BODY": IN_BODY,
    "IN_SCOPE": IN_SCOPE,
}
KINDS = {line.strip(): kind for kind, text in DECLARED.items() for line in text.replace("\n", " ").split(",")}

OWN, PUBLIC, SHARED = "mine", "open", "other~lent"
HIDDEN, MISSING = "other~kept", "other~none"
BARE_FOREIGN = "kept"
TARGETS = (OWN, PUBLIC, SHARED, HIDDEN, MISSING, BARE_FOREIGN)
MAY = (OWN, PUBLIC, SHARED)
"""What keys of the workspace may call."""
ABROAD = (BARE_FOREIGN,)
"""What keys of the other workspace may call."""


@dataclass(frozen=True)
class Caller:
    """How somebody comes, and what is declared of it."""

    headers: dict[bytes, bytes]
    always: int = 0
    """The one answer that there is for it, whatever it asks; 0 when that depends."""
    may: tuple[str, ...] = ()
    query: str = ""
    peer: str = "127.0.0.1"
    scoped: Callable[[str], dict[bytes, bytes]] | None = None
    """Headers with a key of the same kind that is for one deployment only."""


def mark(call: Call) -> None:
    call.reply(REACHED, (), b"")


def marked(protocol: Protocol) -> Protocol:
    return replace(protocol, routes=tuple(replace(route, run=mark) for route in protocol.routes))


class World:
    """A platform's rows, published; and a handler that stands on them."""

    def __init__(self, root: Path, services: object, holder: SnapshotHolder, journal: Journal) -> None:
        settings, plane = Settings(home=root / "worker"), DataPlane()
        self.protocols = (*protocols(settings, Home(root / "worker"), plane, holder, slot=0), *UNARY, *STREAMS)
        self.refusals = root / "refusals"
        self.refusals.mkdir()
        self.noted = Refusals(LineFile(self.refusals, "0"), SystemClock(), lambda _seconds, _write: None)
        http = [marked(protocol) for protocol in self.protocols[: -len((*UNARY, *STREAMS))]]
        handler = Handler(http, Gate(holder, journal), plane, refusals=self.noted)
        grpc = handler.carrying([marked(protocol) for protocol in (*UNARY, *STREAMS)])
        self.handlers = {protocol.name: handler for protocol in self.protocols} | {p.name: grpc for p in (*UNARY, *STREAMS)}

    def ask(self, protocol: Protocol, route: Route, caller: Caller, target: str) -> tuple[int, bytes]:
        path = route.pattern.replace("{name}", target).replace("{version}", "1").replace("{label}", "best")
        path = path.replace("{region}", "r").replace("{id}", "0" * 46)
        headers = caller.headers
        if KINDS[f"{route.method} {route.pattern}"] == "IN_SCOPE" and caller.scoped is not None:
            headers = caller.scoped(target)
        exchange = FakeExchange(route.method, path, body_for(protocol, route, target), headers)
        exchange.query, exchange.peer, exchange.path = caller.query, caller.peer, unquote(path)
        self.handlers[protocol.name](exchange)
        assert exchange.answer is not None, path
        return status_of(exchange.answer), exchange.answer.body + exchange.answer.headers.get(b"grpc-message", b"")


def status_of(answer: object) -> int:
    """The HTTP status; of gRPC's errors, what stands for the same."""
    status = answer.headers.get(b"grpc-status")
    return {b"16": 401, b"7": 403, b"5": 404, b"3": 400, b"12": 501}.get(status, answer.status) if status is not None else answer.status


def body_for(protocol: Protocol, route: Route, target: str) -> bytes:
    """A request that names the deployment where its protocol does so in the body."""
    method = route.pattern.rpartition("/")[2]
    if protocol.name.startswith("open-inference-grpc"):
        wire = open_inference(f"{'ModelInfer' if method == 'ModelStreamInfer' else method}Request")()
        field = next((name for name in ("model_name", "name") if hasattr(wire, name)), "")
        if field:
            setattr(wire, field, target)
        return wire.SerializeToString()
    if protocol.name == "tensorflow-grpc":
        kinds = {"Predict": "PredictRequest", "Classify": "ClassificationRequest", "Regress": "RegressionRequest"}
        wire = tensorflow(kinds.get(method, f"{method}Request"))()
        if method == "MultiInference":
            task = wire.tasks.add(method_name="tensorflow/serving/classify")
            task.model_spec.name = target
        else:
            wire.model_spec.name = target
        return wire.SerializeToString()
    return json.dumps({"model": target}).encode()


def bearer(secret: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {secret}".encode()}


def declared(kind: str, caller: Caller, target: str) -> int:
    """The one place that says what shall be."""
    if kind == "OPEN":
        return REACHED
    if caller.always:
        return caller.always
    if not caller.headers:
        return REACHED if target == PUBLIC and kind in {"NAMED", "IN_BODY"} else 401
    if kind == "GENERAL":
        return REACHED
    return REACHED if target in caller.may else 404


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, Caller]]]:
    root = tmp_path_factory.mktemp("rights")
    with running(root) as platform:
        services, clock = platform.services, SystemClock()
        with services.store.write() as session:
            other = session.workspaces.create("other").id
            for workspace_id, name, policy in (
                (1, OWN, {}),
                (1, PUBLIC, {"public": {}}),
                (other, "lent", {}),
                (other, "kept", {}),
            ):
                target = Target(model="m", version="1")
                session.deployments.add(Deployment(id=0, workspace_id=workspace_id, name=name, targets=(target,), policy=policy))
            callers = callers_of(session, other)
        services.shares.share(Actor(name="test", workspace_id=other), "lent", "default")
        publisher = SnapshotPublisher(services.store, SnapshotWriter(root / "snapshot", clock), clock)
        publisher.publish_if_changed()
        holder = SnapshotHolder(SnapshotReader(root / "snapshot").load())
        journal = Journal(root / "journal", bytes(16), 0, segment_bytes=1 << 22)
        yield World(root, services, holder, journal), callers
        journal.close()


def callers_of(session: Session, other: int) -> dict[str, Caller]:
    made: dict[str, Caller] = {}

    def key(workspace_id: int, principal: int, **more: object) -> str:
        new = NewKey(**({"actions": (Action.INFER,)} | more))
        return add_key(session, Actor(name="test", workspace_id=workspace_id), workspace_id, principal, new, clock.time_ns())[1]

    def scoped(workspace_id: int, principal: int, actions: tuple[Action, ...]) -> Callable[[str], dict[bytes, bytes]]:
        known = {name: bearer(key(workspace_id, principal, deployments=(name,), actions=actions)) for name in TARGETS}
        return known.__getitem__

    clock = SystemClock()
    administrator = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.PERSON, name="boss", admin=True)).id
    for role in Role:
        principal = member(session, 1, role)
        actions = tuple(session.memberships.rights(principal).of(1, principal))
        always = 0 if Action.INFER in actions else 403
        headers = bearer(key(1, principal, actions=actions))
        made[role.value] = Caller(headers, always, MAY, scoped=scoped(1, principal, actions))
    consumer = member(session, 1, Role.CONSUMER, "second")
    made["admin"] = Caller(
        bearer(key(1, administrator, actions=tuple(ALL_ACTIONS))), may=MAY, scoped=scoped(1, administrator, (Action.INFER,))
    )
    stranger = member(session, other, Role.OWNER)
    made["foreign"] = Caller(bearer(key(other, stranger)), may=ABROAD, scoped=scoped(other, stranger, (Action.INFER,)))
    made["nobody"] = Caller({})
    made["unknown key"] = Caller(bearer("my_0123456789_" + "x" * 40), 401)
    made["truncated key"] = Caller({b"authorization": made["consumer"].headers[b"authorization"][:-1]}, 401)
    made["key in the address"] = Caller(made["consumer"].headers, 401, query="api_key=x")
    made["two keys"] = Caller(made["consumer"].headers | {b"x-api-key": b"my_other"}, 401)
    past = add_key(session, Actor(name="test", workspace_id=1), 1, consumer, NewKey(actions=(Action.INFER,), expires_seconds=1.0), 1)
    made["expired key"] = Caller(bearer(past[1]), 401)
    gone, secret = add_key(session, Actor(name="test", workspace_id=1), 1, consumer, NewKey(actions=(Action.INFER,)), clock.time_ns())
    revoke_key(session, Actor(name="test", workspace_id=1), gone, clock.time_ns())
    made["revoked key"] = Caller(bearer(secret), 401)
    outcast = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name="outcast"))
    made["key of no member"] = Caller(bearer(key(1, outcast.id)), 401)
    made["key from elsewhere"] = Caller(bearer(key(1, consumer, networks=("10.0.0.0/8",))), 403, peer="192.0.2.1")
    made["key from its network"] = Caller(
        bearer(key(1, consumer, networks=("10.0.0.0/8",))), may=MAY, peer="10.1.2.3", scoped=scoped(1, consumer, (Action.INFER,))
    )
    only = bearer(key(1, consumer, deployments=(OWN,)))
    made["key for one deployment"] = Caller(only, may=(OWN,), scoped=lambda target: only if target == OWN else bearer("my_none"))
    return made


def member(session: Session, workspace_id: int, role: Role, name: str = "") -> int:
    principal = Principal(id=0, workspace_id=workspace_id, kind=PrincipalKind.SERVICE, name=name or role.value)
    made = session.principals.add(principal)
    session.memberships.put(Membership(id=0, workspace_id=workspace_id, principal_id=made.id, roles=(role,)), 0)
    return made.id


def test_each_route_is_declared_and_each_declaration_has_its_route(world: tuple[World, dict[str, Caller]]) -> None:
    found = {f"{route.method} {route.pattern}" for protocol in world[0].protocols for route in protocol.routes}
    assert found == set(KINDS), (sorted(found - set(KINDS)), sorted(set(KINDS) - found))


def test_every_route_answers_every_caller_as_declared(world: tuple[World, dict[str, Caller]]) -> None:
    made, callers = world
    wrong, count = [], 0
    for protocol in made.protocols:
        for route in protocol.routes:
            kind = KINDS[f"{route.method} {route.pattern}"]
            for who, caller in callers.items():
                if who == "key for one deployment" and kind == "IN_SCOPE":
                    continue  # what it is scoped to is all that it can mean there
                for target in TARGETS if kind not in {"OPEN", "GENERAL"} else (OWN,):
                    count += 1
                    status, body = made.ask(protocol, route, caller, target)
                    expected = declared(kind, caller, target)
                    if status != expected:
                        wrong.append(f"{who}: {route.method} {route.pattern} for {target}: {status}, not {expected}: {body[:200]!r}")
    assert not wrong, "\n".join(wrong[:40])
    assert count > 8000


def test_what_is_foreign_unshared_or_missing_is_told_apart_by_nothing(world: tuple[World, dict[str, Caller]]) -> None:
    made, callers = world
    for protocol in made.protocols:
        for route in protocol.routes:
            if KINDS[f"{route.method} {route.pattern}"] in {"OPEN", "GENERAL"}:
                continue
            for who, caller in callers.items():
                told = {
                    target: (status, body.replace(target.encode(), b"NAME").replace(target.replace("~", "%7E").encode(), b"NAME"))
                    for target in (HIDDEN, MISSING)
                    for status, body in [made.ask(protocol, route, caller, target)]
                }
                assert told[HIDDEN] == told[MISSING], (who, route.pattern)


def test_nobody_learns_from_a_refusal_whether_there_is_such_a_deployment(world: tuple[World, dict[str, Caller]]) -> None:
    made, callers = world
    for protocol in made.protocols:
        for route in protocol.routes:
            if KINDS[f"{route.method} {route.pattern}"] in {"NAMED", "KEYED", "IN_BODY"}:
                for who in ("nobody", "unknown key", "auditor"):
                    told = {made.ask(protocol, route, callers[who], target) for target in (OWN, HIDDEN, MISSING)}
                    assert len(told) == 1, (who, route.pattern, told)


def test_each_refusal_of_a_right_is_noted_for_the_audit_log_and_nothing_else(world: tuple[World, dict[str, Caller]]) -> None:
    made, callers = world
    made.noted.write()
    for path in LineFolder(made.refusals).take():
        path.unlink()
    protocol = next(protocol for protocol in made.protocols if protocol.name == "open-inference-rest")
    route = next(route for route in protocol.routes if route.pattern == "/v2/models/{name}/infer")
    for caller in callers.values():
        for target in (OWN, HIDDEN, MISSING):
            made.ask(protocol, route, caller, target)
    made.noted.write()
    [path] = LineFolder(made.refusals).take()
    found = {(refusal.why, refusal.subject): refusal for refusal in refusals_in(path)}
    path.unlink()
    assert set(found) == {
        (Why.ACTION, f"POST /v2/models/{OWN}/infer"),
        (Why.NETWORK, f"POST /v2/models/{OWN}/infer"),
        (Why.SCOPE, f"POST /v2/models/{HIDDEN}/infer"),
    }
    network = found[Why.NETWORK, f"POST /v2/models/{OWN}/infer"]
    assert (network.workspace_id, network.address, network.count, network.place) == (1, "192.0.2.1", 3, "POST /v2/models/{name}/infer")
    assert network.actor.startswith("key:")
    assert len(network.request_id) == 32
    assert [found[Why.SCOPE, f"POST /v2/models/{HIDDEN}/infer"].count, found[Why.ACTION, f"POST /v2/models/{OWN}/infer"].count] == [2, 3]
