"""A data plane and an exchange in memory, to drive a protocol's routes without server, gate or model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from modelyard.core.access import Action, Grant
from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.exchange import Exchange
from modelyard.core.inference import InferResponse
from modelyard.protocols.call import Call
from modelyard.protocols.routing import RouteTable
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.router import ServedView


class FakeExchange(Exchange):
    __slots__ = ("answer", "pieces")

    def __init__(self, method, target, body=b"", headers=None):
        path, _, query = target.partition("?")
        self.method, self.path, self.query, self.body = method, unquote(path.replace("%2F", "%252F")), query, body
        self.headers = headers or {}
        self.peer, self.secure, self.received_ns, self.aborted, self.on_abort = "127.0.0.1", False, 0, None, None
        self.answer = None

    def respond(self, status, headers, body, own=(), more=()):
        assert self.answer is None, "answered twice"
        self.answer = Answer(status, dict([*headers, *own, *more]), body if isinstance(body, bytes) else b"".join(body))

    def start(self, status, headers):
        raise NotImplementedError

    def send(self, chunk):
        raise NotImplementedError

    async def drain(self):
        raise NotImplementedError

    def finish(self):
        raise NotImplementedError


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakePlane(DataPlane):
    """Serves one function as deployment of workspace 1."""

    def __init__(self, signature, compute, *, name="demo", versions=(1, 3), labels=None, ready=True):
        super().__init__()
        self.signature, self.compute, self.name = signature, compute, name
        self.versions, self.labels, self.is_ready = versions, labels or {"champion": 3}, ready
        self.requests = []

    def names(self, workspace_id):
        return [self.name] if workspace_id == 1 else []

    def served(self, workspace_id, deployment, version=""):
        if workspace_id != 1 or deployment != self.name:
            raise NotFound(f"There is no deployment {deployment!r}.")
        number = self.labels.get(version) or (int(version) if version.isdigit() and len(version) < 9 else None) or max(self.versions)
        if version and (number not in self.versions or (version not in self.labels and not version.isdigit())):
            raise NotFound(f"Deployment {deployment!r} serves no version {version!r}.")
        return ServedView(
            name=deployment,
            model="m",
            number=number,
            version_id=7,
            signature=self.signature,
            versions=self.versions,
            labels=self.labels,
            ready=self.is_ready,
            pin=str(number),
        )

    def choose(self, workspace_id, deployment, version=""):
        return self.served(workspace_id, deployment, version)

    def ready(self, workspace_id, deployment, version=""):
        return self.served(workspace_id, deployment, version).ready

    def infer(self, workspace_id, deployment, request, done):
        self.requests.append(request)
        try:
            view = self.served(workspace_id, deployment, request.version)
            rows = self.signature.check_inputs(request.inputs)
            outputs = self.compute(request.inputs)
            if request.outputs:
                outputs = {name: outputs[name] for name in request.outputs}
            done(InferResponse(outputs, "m", view.number, 7, rows, signature=self.signature))
        except ModelyardError as error:
            done(error)


GRANT = Grant(workspace_id=1, key_id=5, public_id="abc", actions=frozenset({Action.INFER}), deployments=frozenset())


def drive(protocol, plane, method, target, body=b"", headers=None, grant=GRANT):
    """The answer to one request, as the handler would give it after authentication."""
    return drive_exchange(protocol, plane, make_exchange(method, target, body, headers), grant)


def make_exchange(method, target, body=b"", headers=None, kind=FakeExchange):
    return kind(method, target, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)


def drive_exchange(protocol, plane, exchange, grant=GRANT):
    found, route, params, _ = RouteTable([protocol]).find(exchange.method, exchange.path)
    assert route is not None, f"no route for {exchange.method} {exchange.path}"
    call = Call(exchange, found, plane, "request-1")
    call.route, call.params, call.body, call.grant = route, params, exchange.body, grant
    if route.locate is not None:
        call.guard(route.locate, call)
    if not call.answered:
        call.guard(route.run, call)
    return exchange.answer
