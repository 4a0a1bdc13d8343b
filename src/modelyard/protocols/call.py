"""One call on its way through a protocol: what came, who asks, and the one way to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from typing import Protocol as Seam

from modelyard.core.access import Grant
from modelyard.core.cost import Cost
from modelyard.core.errors import Internal, LimitExceeded, ModelyardError, Unauthenticated, Unavailable
from modelyard.core.exchange import Abort, Exchange, Fields, Headers
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.limits import Measure, Standing, Standings
from modelyard.core.usage import CallKind
from modelyard.gate.counters import Awaited
from modelyard.protocols.compression import INLINE, WORTH, choose, compress
from modelyard.protocols.context import Context
from modelyard.protocols.routing import Body, Protocol, Reply, Route
from modelyard.protocols.starting import follow_start
from modelyard.protocols.waiting import WaitingRoom

if TYPE_CHECKING:
    from modelyard.gate.permit import Permit
    from modelyard.serving.dataplane import DataPlane, ServedView

logger = logging.getLogger(__name__)

NOBODY: Final = Grant(workspace_id=0, key_id=0, public_id="", actions=frozenset(), deployments=frozenset())
"""The grant of a call to a health route, which needs no key."""
UNRECORDED: Final = (b"x-modelyard-unrecorded", b"1")
"""Marks an answer to a call of which there is no usage record."""
_ABORTED: Final = 499
"""The status in the journal of a call whose client went away (nginx's number; HTTP has none)."""


class Stopwatch(Seam):
    """Takes the time of one call at each of these moments, in this order; the first three may be passed without the others."""

    def gated(self) -> None:
        """It may go on, and its body is at hand."""

    def decoded(self) -> None:
        """It goes to the data plane."""

    def inferred(self) -> None:
        """Its outcome has come."""

    def answered(self, deployment: str, received_ns: int, cost: Cost) -> None:
        """It is answered with 200."""


Finished = Callable[["Call", int, int], None]
"""Called after a call is answered, with the status and the bytes of the body: for access logs and counters."""


class Call:
    """A request that was routed, with all that a protocol needs to answer it.

    A route's ``run`` gets it after authentication, with the permit held and the content coding removed. It answers exactly once,
    with ``reply``, ``fail`` or ``infer``, at once or later, always on the event loop. The permit is settled, which writes the
    journal record, before the answer is handed to the front.
    """

    __slots__ = (
        "_encode",
        "_finished",
        "_request",
        "_sent",
        "_stream_error",
        "_waiting",
        "answered",
        "body",
        "context",
        "cost",
        "exchange",
        "grant",
        "message",
        "own_id",
        "params",
        "permit",
        "plane",
        "protocol",
        "request_id",
        "route",
        "stopwatch",
        "waits_until_ns",
    )

    def __init__(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self,
        exchange: Exchange,
        protocol: Protocol,
        plane: DataPlane,
        request_id: str,
        finished: Finished | None = None,
        waiting: WaitingRoom | None = None,
    ) -> None:
        self._finished = finished
        self._waiting = waiting
        self.exchange = exchange
        self.protocol = protocol
        self.plane = plane
        self.request_id = request_id
        """The client's ``x-request-id``, or our own."""
        self.own_id = ""
        """Our own id, where ``request_id`` is the client's: what its usage record is found by."""
        self.route: Route | None = None
        self.params: dict[str, str] = {}
        """Path parameters, percent-decoded."""
        self.body = b""
        """The request's body with its content coding removed."""
        self.message: Any = None
        """What ``Route.locate`` read of the body, where it did."""
        self.grant = NOBODY
        self.permit: Permit | None = None
        self.cost = Cost()
        self.answered = False
        self.context: Context | None = None
        """What its headers say beside its content; mostly nothing."""
        self.stopwatch: Stopwatch | None = None
        """Set where this call is measured; mostly it is not."""
        self._sent = 0
        self._stream_error: Callable[[ModelyardError], bytes] | None = None
        self.waits_until_ns = 0
        """Until when it may wait for units of a limit; 0 before it has to."""

    @property
    def name(self) -> str:
        """The deployment that the path names."""
        return self.params["name"]

    def header(self, name: bytes) -> bytes | None:
        """A request header by its lower-case name; repeated fields are joined by ``, ``."""
        return self.exchange.headers.get(name)

    def guard(self, step: Callable[..., None], *arguments: Any) -> None:
        """Runs a step of the call; whatever it raises becomes the answer. The one place where unexpected errors of calls end."""
        try:
            step(*arguments)
        except ModelyardError as error:
            self.fail(error)
        except Exception:  # the edge of a request
            logger.exception("Unexpected error in request %s (%s %s)", self.request_id, self.exchange.method, self.exchange.path)
            if not self.answered:
                self.fail(Internal(f"The server failed on this request; its log has the reason under request id {self.request_id}."))

    def choose(self, version: str = "") -> ServedView:
        """The version that answers this call: the one it names, the one its caller is assigned to, or one by weight.

        The request must then name ``view.pin``, unless it names a version itself.
        """
        if self.plane.sticky and not version:
            version = self._assigned()
        return self.plane.choose(self.grant.workspace_id, self.params["name"], version)

    def _assigned(self) -> str:
        return self.plane.assigned(self.grant.workspace_id, self.params["name"], self.grant.key_id, self.exchange.headers)

    def infer(self, request: InferRequest, encode: Callable[[InferResponse], Reply]) -> None:
        """Sends a request through the data plane and answers with what ``encode`` makes of the outcome."""
        if self.stopwatch is not None:
            self.stopwatch.decoded()
        self._encode = encode
        self._request = request
        if self.plane.sticky and not request.version:
            request.version = self._assigned()
        if self.context is not None:
            request.deadline_ns = self.context.sooner(request.deadline_ns)
        self.exchange.on_abort = self._aborted
        if self.permit is not None and self.permit.foreseen:
            request.admit = self._expect
        if self.plane.starting:
            follow_start(self)
        self._submit()

    def _expect(self, rows: int, version_id: int) -> None:
        """Reserves what is known of the call, now that it is decoded; raises what it is refused with."""
        if self.permit is not None:
            self.permit.expect(Cost(rows=rows, version_id=version_id), len(self.exchange.body))

    def _submit(self) -> None:
        self.plane.infer(self.grant.workspace_id, self.params["name"], self._request, self._inferred)

    def _aborted(self, _reason: Abort) -> None:
        """Nobody waits any more: work that has not begun need not begin."""
        self._request.deadline_ns = 1

    def _inferred(self, outcome: InferResponse | ModelyardError) -> None:
        if self.stopwatch is not None:
            self.stopwatch.inferred()
        self.guard(self._answer, outcome)

    def _answer(self, outcome: InferResponse | ModelyardError) -> None:
        if isinstance(outcome, Awaited) and self._waiting is not None:
            self._waiting.wait(self, outcome, self._submit)
            return
        if isinstance(outcome, ModelyardError):
            raise outcome
        cost = self.cost
        cost.rows = outcome.rows
        cost.queue_us = outcome.queue_us
        cost.compute_us = outcome.compute_us
        cost.version_id = outcome.version_id
        if outcome.cached:
            cost.cached = True
        self.reply(*self._encode(outcome))

    def reply(self, status: int, headers: Headers, body: Body) -> None:
        """Settles the permit, then answers. Answering a call twice is an error of the program and raises RuntimeError."""
        exchange = self.exchange
        accepted = exchange.headers.get(b"accept-encoding")
        if accepted is not None:
            headers, body = _compressed(accepted, headers, body)
        size = len(body) if type(body) is bytes else body_size(body)
        more: Fields = ()
        permit = self.permit
        if permit is not None:
            self.permit = None
            settled = status if exchange.aborted is None else _ABORTED
            kind = self.route.kind if self.route is not None else CallKind.OTHER
            try:
                permit.settle(settled, self.cost, self.protocol.id, kind, len(exchange.body), size)
            except ModelyardError as error:
                status, headers, body = self._error(error)
                size = body_size(body)
            if not permit.recorded:
                headers = [*headers, UNRECORDED]
            standings = permit.standings
            if standings is not None:
                more = standings.encoded or _encode(standings)
        self.answered = True
        # Without this, call and exchange would hold each other until the garbage collector comes.
        exchange.on_abort = None
        context = self.context
        if context is not None and context.headers:
            headers = [*headers, *context.headers]
        exchange.respond(status, headers, body, self._own(), more)
        if self._finished is not None:
            self._finished(self, status, size)
        if self.stopwatch is not None and status == 200:
            self.stopwatch.answered(self.params.get("name", ""), exchange.received_ns, self.cost)

    def fail(self, error: ModelyardError) -> None:
        """Answers with an error in the protocol's own form; within a stream, as its last piece."""
        if self._stream_error is not None and not self.answered:
            self.send(self._stream_error(error))
            self.finish()
        else:
            self.reply(*self._error(error))

    def start(self, headers: Headers, error: Callable[[ModelyardError], bytes]) -> None:
        """Begins an answer in pieces, with status 200. ``error`` makes the last piece of a stream that fails."""
        self._stream_error = error
        more: list[tuple[bytes, bytes]] = [*self.context.headers] if self.context is not None else []
        standings = self.permit.stand() if self.permit is not None else None
        if standings is not None:
            more += standings.encoded or _encode(standings)
        self.exchange.start(200, [*headers, *self._own(), *more])

    def send(self, piece: bytes) -> None:
        """One piece of a begun answer."""
        self._sent += len(piece)
        self.exchange.send(piece)

    @property
    def sent(self) -> int:
        """Bytes of the answer so far."""
        return self._sent

    def finish(self) -> None:
        """Settles the permit and ends a begun answer."""
        exchange, permit = self.exchange, self.permit
        self.answered = True
        exchange.on_abort = None
        if permit is not None:
            self.permit = None
            kind = self.route.kind if self.route is not None else CallKind.OTHER
            settled = 200 if exchange.aborted is None else _ABORTED
            permit.settle(settled, self.cost, self.protocol.id, kind, len(exchange.body), self._sent)
        exchange.finish()
        if self._finished is not None:
            self._finished(self, 200, self._sent)

    def _own(self) -> Fields:
        """The fields that are this answer's alone."""
        mine = (b"x-request-id", self.request_id.encode())
        context = self.context
        if context is None:
            return (mine, (b"x-modelyard-request-id", self.own_id.encode())) if self.own_id else (mine,)
        own = [mine]
        if self.own_id:
            own.append((b"x-modelyard-request-id", self.own_id.encode()))
        if context.trace:
            own.append((b"traceresponse", context.told))
        if context.start is not None:
            own += context.start.fields()
        return tuple(own)

    def _error(self, error: ModelyardError) -> Reply:
        status, headers, body = self.protocol.error(error)
        more: list[tuple[bytes, bytes]] = []
        if isinstance(error, Unauthenticated):
            more.append((b"www-authenticate", b"Bearer"))
        if error.retry_after is not None and isinstance(error, LimitExceeded | Unavailable):
            more.append((b"retry-after", str(max(1, -int(-error.retry_after // 1))).encode()))
        if isinstance(error, LimitExceeded):
            more += limit_headers(error.standings)
        return status, [*headers, *more], body


def _encode(standings: Standings) -> Fields:
    """Their headers, worked out once for all the calls that they are told to."""
    standings.encoded = tuple(limit_headers(standings.each))
    return standings.encoded


def limit_headers(standings: tuple[Standing, ...]) -> list[tuple[bytes, bytes]]:
    """``x-ratelimit-limit-requests`` and the like: the amount, what is left of it, and the seconds until it begins anew."""
    found = []
    for standing in standings:
        limit, remaining, reset = _RATELIMIT[standing.measure]
        found += [(limit, b"%d" % standing.amount), (remaining, b"%d" % standing.remaining)]
        if standing.reset_seconds >= 0:
            found.append((reset, b"%ds" % -(-standing.reset_seconds // 1)))
    return found


_RATELIMIT: Final = {
    measure: tuple([f"x-ratelimit-{what}-{measure.value.replace('_', '-')}".encode() for what in ("limit", "remaining", "reset")])
    for measure in Measure
}


def body_size(body: Body) -> int:
    """Bytes of an answer's body; memory views in it are of bytes."""
    return len(body) if isinstance(body, bytes) else sum([len(chunk) for chunk in body])


def _compressed(accepted: bytes, headers: Headers, body: Body) -> tuple[Headers, Body]:
    if not WORTH <= body_size(body) <= INLINE:
        return headers, body
    coding = choose(accepted)
    if not coding:
        return headers, body
    packed = compress(coding, body if isinstance(body, bytes) else b"".join(body))
    return [*headers, (b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")], packed
