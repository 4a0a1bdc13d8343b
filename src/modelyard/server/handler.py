"""The neutral handler: what every front calls with every request, whatever carried it.

Route, key, permit, body, then the protocol. It finds things by table lookup, waits for nothing, and never raises.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final
from typing import Protocol as Seam

from modelyard.core.access import Action, Certificate, Grant
from modelyard.core.errors import Internal, MissingKey, ModelyardError, NotFound, PermissionDenied, Unauthenticated, Unsupported
from modelyard.core.exchange import Exchange
from modelyard.core.refusals import Why
from modelyard.core.usage import CallKind
from modelyard.gate.authenticate import WrongNetwork
from modelyard.gate.counters import Awaited
from modelyard.gate.openness import Openness
from modelyard.gate.permit import Permit
from modelyard.gate.refusals import Refusals
from modelyard.protocols.call import Call, Finished
from modelyard.protocols.compression import decompress
from modelyard.protocols.context import read_context
from modelyard.protocols.routing import Protocol, Reply, RouteTable
from modelyard.protocols.waiting import Later, WaitingRoom
from modelyard.server.cors import let_read, preflight
from modelyard.server.stages import EVERY, Observe, Stages
from modelyard.serving.dataplane import DataPlane

_LONGEST_ID: Final = 128
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Admission(Seam):
    """What the handler asks of the gate."""

    @property
    def authenticate(self) -> Callable[[Mapping[bytes, bytes], str, str], Grant]:
        """The grant of the key in headers, for a query and an address; raises Unauthenticated, PermissionDenied."""

    @property
    def certified(self) -> Callable[[Certificate, str], Grant | None]:
        """The grant of the key that a client's certificate stands for."""

    @property
    def openness(self) -> Openness:
        """What callers without a key, and pages of other origins, may do."""

    def admit(  # on every call's path, where keywords cost time
        self, grant: Grant, action: Action, deployment: str | None, request_id: bytes, kind: CallKind = CallKind.OTHER
    ) -> Permit:
        """A permit for one call; raises PermissionDenied, NotFound, LimitExceeded, Awaited or Unavailable."""


class Handler:
    """Answers exchanges by the routes of ``protocols``.

    Every route but health needs a key, and whoever has none learns nothing of which paths exist. ``max_body_bytes`` bounds a body
    after decompression; fronts bound it before. ``finished`` is called after each answer, for logs and counters. ``later`` is the
    event loop's ``call_later``, with which calls wait for what a limit lacks for moments only; without it they are refused at once.
    One call in many is measured, and ``observe`` is told of it. ``refusals`` are told which rights keys were refused.
    """

    def __init__(
        self,
        protocols: Sequence[Protocol],
        gate: Admission,
        plane: DataPlane,
        *,
        max_body_bytes: int = 64 * 1024 * 1024,
        finished: Finished | None = None,
        later: Later | None = None,
        observe: Observe | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._table = RouteTable(protocols)
        self._gate = gate
        self._plane = plane
        self._max_body = max_body_bytes
        self._finished = finished
        self._observe = observe
        self._refusals = refusals
        self._waiting = WaitingRoom(later)
        self._boot = secrets.token_bytes(8)
        self._counter = count(1)

    def carrying(self, protocols: Sequence[Protocol]) -> Handler:
        """The same for other protocols, which another listener carries."""
        other = Handler(protocols, self._gate, self._plane, max_body_bytes=self._max_body)
        other._finished, other._observe, other._refusals = self._finished, self._observe, self._refusals
        other._waiting, other._boot, other._counter = self._waiting, self._boot, self._counter
        return other

    def __call__(self, exchange: Exchange) -> None:
        number = next(self._counter)
        own_id = self._boot + number.to_bytes(8, "big")
        given = exchange.headers.get(b"x-request-id")
        request_id = own_id.hex() if given is None else _usable(given) or own_id.hex()
        protocol, route, params, allowed = self._table.find(exchange.method, exchange.path)
        call = Call(exchange, protocol, self._plane, request_id, self._finished, self._waiting)
        if given is not None:
            call.own_id = own_id.hex()
        if not number & (EVERY - 1) and self._observe is not None:
            call.stopwatch = Stages(self._observe)
        call.route = route
        call.params = params
        headers = exchange.headers
        if b"traceparent" in headers or b"x-request-timeout" in headers or b"origin" in headers or b"grpc-timeout" in headers:
            call.guard(self._in_context, call, own_id, allowed)
        elif route is None:
            call.guard(self._unknown, call, allowed)
        elif route.action is None:
            call.guard(route.run, call)
        else:
            call.guard(self._run, call, own_id)

    def _in_context(self, call: Call, own_id: bytes, allowed: tuple[str, ...]) -> None:
        """A request that says more of itself than its content."""
        exchange, route = call.exchange, call.route
        call.context = context = read_context(exchange.headers, exchange.received_ns)
        if route is None:
            asked = exchange.headers.get(b"access-control-request-method", b"").decode("latin-1")
            if exchange.method == "OPTIONS" and context.origin and asked:
                said = preflight(self._table, self._gate.openness, exchange.path, asked, context.origin)
                if said is not None:
                    call.reply(204, said, b"")
                    return
            self._unknown(call, allowed)
        elif route.action is None:
            route.run(call)
        else:
            self._run(call, own_id)

    def _run(self, call: Call, own_id: bytes) -> None:
        exchange, route = call.exchange, call.route
        try:
            call.grant = self._gate.authenticate(exchange.headers, exchange.query, exchange.peer)
        except MissingKey as missing:
            self._welcome(call, missing)
        except WrongNetwork as error:
            call.grant = error.grant
            self._refused(call, Why.NETWORK, error, own_id)
            raise
        if route is not None and route.locate is not None and "name" not in call.params:
            route.locate(call)
        if call.context is not None and call.context.origin:
            name = call.params.get("name", "")
            if self._gate.openness.cors(call.grant.workspace_id, name, call.context.origin):
                let_read(call.context)
        self._admit(call, own_id)

    def _welcome(self, call: Call, missing: MissingKey) -> None:
        """Finds out what a caller without a key may do: by its certificate, or because the deployment is public.

        Raises ``missing`` when that is nothing, whether or not there is such a deployment.
        """
        shown = call.exchange.certificate
        certified = self._gate.certified(shown, call.exchange.peer) if shown is not None else None
        if certified is not None:
            call.grant = certified
            return
        route, openness = call.route, self._gate.openness
        if route is None or route.keyed or not route.names_deployment or not openness.any_public:
            raise missing
        if route.locate is not None:
            try:
                route.locate(call)
            except ModelyardError:
                raise missing from None
        try:
            call.grant = openness.anonymous(call.params.get("name", ""), call.exchange.peer)
        except Unauthenticated:
            raise missing from None

    def _admit(self, call: Call, own_id: bytes) -> None:
        exchange, route = call.exchange, call.route
        if route is None or route.action is None:
            raise Internal("A call without a right was to be admitted.")
        name = call.params.get("name") if route.names_deployment else None
        if self._plane.guarded and route.kind is CallKind.INFER:
            self._turn_away(call.grant, name)
        try:
            call.permit = self._gate.admit(call.grant, route.action, name, own_id, route.kind)
        except Awaited as error:
            self._waiting.wait(call, error, self._admit, call, own_id)
            return
        except PermissionDenied as error:
            self._refused(call, Why.ACTION, error, own_id)
            raise
        except NotFound as error:
            if not call.grant.covers(name or ""):
                self._refused(call, Why.SCOPE, error, own_id)
            raise
        coding = exchange.headers.get(b"content-encoding")
        call.body = exchange.body if coding is None else decompress(coding, exchange.body, self._max_body)
        if call.stopwatch is not None:
            call.stopwatch.gated()
        route.run(call)

    def _refused(self, call: Call, why: Why, error: ModelyardError, own_id: bytes) -> None:
        if self._refusals is not None:
            what = f"{call.exchange.method} {call.exchange.path}"
            name = call.params.get("name", "")
            subject = what if not name or name in what else f"{what} {name}"
            address = call.exchange.peer
            place = f"{call.route.method} {call.route.pattern}" if call.route is not None else ""
            more = {"reason": error.message, "address": address, "request_id": own_id.hex()}
            self._refusals.of_key(call.grant, why, place=place, subject=subject, **more)

    def _turn_away(self, grant: Grant, name: str | None) -> None:
        """Refuses a call that its deployment could not answer in time; only to callers who may know of the deployment."""
        guard = self._plane.guarded.get((grant.workspace_id, name or ""))
        if guard is not None and grant.allows(Action.INFER, name):
            guard()

    def wants_body(self, exchange: Exchange) -> bool:
        """Whether a request whose head alone has come may be answered well: one without a valid key need not send its body."""
        try:
            self._gate.authenticate(exchange.headers, exchange.query, exchange.peer)
        except MissingKey:
            return exchange.certificate is not None or self._gate.openness.any_public
        except ModelyardError:
            return False
        return True

    def _unknown(self, call: Call, allowed: tuple[str, ...]) -> None:
        exchange = call.exchange
        try:
            call.grant = self._gate.authenticate(exchange.headers, exchange.query, exchange.peer)
        except MissingKey as missing:
            self._welcome(call, missing)
        if not allowed:
            raise NotFound(f"There is nothing at {exchange.path[:200]!r}; check the address.")
        known = exchange.method if exchange.method in _METHODS else "This method"
        methods = ", ".join(allowed)
        error = Unsupported(f"{known} is not something {exchange.path[:200]!r} answers; use {methods}.")
        call.reply(*_not_allowed(call.protocol.error, error, methods))


def _not_allowed(error_reply: Callable[[ModelyardError], Reply], error: ModelyardError, methods: str) -> Reply:
    _, headers, body = error_reply(error)
    return 405, [*headers, (b"allow", methods.encode())], body


def _usable(given: bytes) -> str:
    """A client's request id, when it can be put into headers and logs as it is; otherwise nothing."""
    if len(given) > _LONGEST_ID or not given.isascii():
        return ""
    text = given.decode()
    return text if text.isprintable() else ""
