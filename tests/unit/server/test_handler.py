import gzip
import json
import zlib

import pytest

from modelyard.core.access import Action
from modelyard.core.errors import LimitExceeded, NotFound, Unavailable
from modelyard.core.exchange import Abort
from modelyard.core.inference import InferRequest
from modelyard.core.signature import Signature
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.open_inference_rest.errors import error_reply
from modelyard.protocols.routing import Protocol, Route
from modelyard.server.handler import Handler
from modelyard.serving.dataplane import DataPlane
from modelyard.testing.fakes import MemoryExchange, OpenGate
from unit.protocols.fakes import FakePlane

KEY = {b"authorization": b"Bearer key"}
TEXT = ((b"content-type", b"text/plain"),)


def echo(call):
    call.cost.rows = 7
    call.reply(200, TEXT, call.body)


def explode(call):
    raise ZeroDivisionError("secret detail")


def limit(call):
    raise LimitExceeded("Too much.", retry_after=1.2)


def pieces(call):
    call.reply(200, TEXT, [b"ab", memoryview(b"cd")])


def later(call):
    call.infer(InferRequest({}), lambda response: (200, TEXT, b"done"))


def twice(call):
    call.reply(200, TEXT, b"first")
    raise ZeroDivisionError


ROUTES = (
    Route("GET", "/health", None, lambda call: call.reply(200, TEXT, b"fine")),
    Route("POST", "/echo/{name}", Action.INFER, echo, CallKind.INFER, names_deployment=True),
    Route("GET", "/echo/{name}", Action.READ, echo, CallKind.METADATA, names_deployment=True),
    Route("GET", "/explode", Action.INFER, explode),
    Route("GET", "/limit", Action.INFER, limit),
    Route("GET", "/pieces", Action.INFER, pieces),
    Route("GET", "/twice", Action.INFER, twice),
    Route("GET", "/later/{name}", Action.INFER, later, CallKind.INFER, names_deployment=True),
)


@pytest.fixture
def gate():
    return OpenGate()


@pytest.fixture
def plane():
    return FakePlane(Signature(inputs=(), outputs=()), dict)


@pytest.fixture
def send(gate, plane):
    finished = []
    handler = Handler(
        [Protocol("test", ProtocolId.RECORDS, ROUTES, error_reply)],
        gate,
        plane,
        max_body_bytes=5000,
        finished=lambda call, status, size: finished.append((call.route, status, size)),
    )

    def send(method, target, body=b"", headers=KEY, *, exchange=None):
        exchange = exchange or MemoryExchange(method, target, body, headers)
        handler(exchange)
        return exchange

    send.finished = finished
    return send


def error_of(exchange):
    return json.loads(exchange.answer_body)["error"]


def test_health_needs_no_key_and_no_permit(send, gate):
    assert send("GET", "/health", headers={}).answer_status == 200
    assert gate.admitted == []


@pytest.mark.parametrize(("method", "target"), [("POST", "/echo/a"), ("GET", "/nothing"), ("DELETE", "/echo/a"), ("GET", "/limit")])
def test_without_a_key_nothing_is_learned(method, target, send, gate):
    exchange = send(method, target, headers={})
    assert exchange.answer_status == 401
    assert exchange.answer_headers[b"www-authenticate"] == b"Bearer"
    assert gate.admitted == gate.settled == []


def test_unknown_paths_and_methods_are_told_to_callers_with_a_key(send):
    assert send("GET", "/nothing").answer_status == 404
    exchange = send("DELETE", "/echo/a")
    assert (exchange.answer_status, exchange.answer_headers[b"allow"]) == (405, b"GET, POST")


def test_a_call_is_admitted_for_its_deployment_and_settled_once_before_the_answer(send, gate):
    exchange = send("POST", "/echo/demo", b"hello")
    assert (exchange.answer_status, exchange.answer_body) == (200, b"hello")
    ((action, deployment, request_id),) = gate.admitted
    assert (action, deployment, len(request_id)) == (Action.INFER, "demo", 16)
    ((status, cost, protocol, kind, bytes_in, bytes_out),) = gate.settled
    assert (status, cost.rows, protocol, kind, bytes_in, bytes_out) == (200, 7, ProtocolId.RECORDS, CallKind.INFER, 5, 5)
    assert exchange.answer_headers[b"x-request-id"] == request_id.hex().encode()
    ((route, status, size),) = send.finished
    assert (route.pattern, status, size) == ("/echo/{name}", 200, 5)


def test_request_ids_are_unique_and_the_clients_own_is_echoed(send, gate):
    for _ in range(50):
        send("GET", "/echo/a")
    assert len({request_id for _, _, request_id in gate.admitted}) == 50
    assert send("GET", "/echo/a", headers={**KEY, b"x-request-id": b"abc-1"}).answer_headers[b"x-request-id"] == b"abc-1"


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a\x01b", b"\xff", b"a\r\nx: y"])
def test_request_ids_that_are_no_plain_text_are_replaced(given, send):
    assert len(send("GET", "/echo/a", headers={**KEY, b"x-request-id": given}).answer_headers[b"x-request-id"]) == 32


def test_refusals_of_the_gate_have_the_protocols_form(send, gate):
    gate.refuse = NotFound("There is no such deployment.")
    exchange = send("POST", "/echo/x")
    assert (exchange.answer_status, error_of(exchange)) == (404, "There is no such deployment.")
    assert gate.settled == []


def test_an_error_is_settled_with_its_status_and_says_when_to_come_again(send, gate):
    exchange = send("GET", "/limit")
    assert (exchange.answer_status, exchange.answer_headers[b"retry-after"]) == (429, b"2")
    assert gate.settled[0][0] == 429


def test_an_unexpected_error_is_logged_and_told_without_detail(send, gate, caplog):
    exchange = send("GET", "/explode", headers={**KEY, b"x-request-id": b"find-me"})
    assert exchange.answer_status == 500
    assert "secret" not in error_of(exchange)
    assert "find-me" in error_of(exchange)
    assert "find-me" in caplog.text
    assert gate.settled[0][0] == 500


def test_an_error_after_the_answer_is_only_logged(send, gate, caplog):
    assert send("GET", "/twice").answer_body == b"first"
    assert "Unexpected error" in caplog.text
    assert len(gate.settled) == 1


def test_an_answer_that_cannot_be_recorded_is_not_given(send, gate):
    gate.refuse_settling = Unavailable("Usage cannot be recorded.")
    exchange = send("POST", "/echo/a", b"precious")
    assert exchange.answer_status == 503
    assert b"precious" not in exchange.answer_body
    assert len(gate.settled) == 1


@pytest.mark.parametrize(("coding", "packed"), [(b"gzip", gzip.compress(b"hello", mtime=0)), (b"deflate", zlib.compress(b"hello"))])
def test_compressed_bodies_are_unpacked(coding, packed, send):
    assert send("POST", "/echo/a", packed, {**KEY, b"content-encoding": coding}).answer_body == b"hello"


def test_bad_compressed_bodies_are_the_callers_error(send):
    headers = {**KEY, b"content-encoding": b"gzip"}
    assert send("POST", "/echo/a", b"hello", headers).answer_status == 400
    assert send("POST", "/echo/a", gzip.compress(bytes(6000)), headers).answer_status == 413
    assert send("POST", "/echo/a", b"hello", {**KEY, b"content-encoding": b"br"}).answer_status == 400


def test_large_answers_are_compressed_when_asked(send, gate):
    body = b"hello " * 400
    exchange = send("POST", "/echo/a", body, {**KEY, b"accept-encoding": b"gzip"})
    assert exchange.answer_headers[b"content-encoding"] == b"gzip"
    assert gzip.decompress(exchange.answer_body) == body
    assert gate.settled[0][5] == len(exchange.answer_body)
    assert b"content-encoding" not in send("POST", "/echo/a", b"small", {**KEY, b"accept-encoding": b"gzip"}).answer_headers


def test_bodies_in_pieces_are_counted_and_sent(send, gate):
    assert send("GET", "/pieces").answer_body == b"abcd"
    assert gate.settled[0][5] == 4


def test_a_client_that_left_is_recorded_as_such(send, gate):
    exchange = MemoryExchange("POST", "/echo/a", b"x", KEY)
    exchange.aborted = Abort.DISCONNECTED
    send("POST", "", exchange=exchange)
    assert gate.settled[0][0] == 499


def test_a_client_that_leaves_stops_what_has_not_begun(send):
    waiting = []
    exchange = MemoryExchange("GET", "/later/demo", b"", KEY)
    handler = Handler([Protocol("test", ProtocolId.RECORDS, ROUTES, error_reply)], OpenGate(), _SlowPlane(waiting))
    handler(exchange)
    (request,) = waiting
    assert request.deadline_ns == 0
    exchange.on_abort(Abort.DISCONNECTED)
    assert request.deadline_ns == 1


class _SlowPlane(DataPlane):
    def __init__(self, waiting):
        super().__init__()
        self._waiting = waiting

    def infer(self, workspace_id, deployment, request, done):
        self._waiting.append(request)


def test_a_call_that_would_be_late_is_refused_before_it_is_admitted_or_read(send, gate, plane):
    def full():
        raise Unavailable("Full.", retry_after=0.2)

    plane.guarded[1, "demo"] = full
    exchange = send("POST", "/echo/demo", b"no gzip", KEY | {b"content-encoding": b"gzip"})
    assert (exchange.answer_status, exchange.answer_headers[b"retry-after"]) == (503, b"1")
    assert gate.admitted == gate.settled == []
    assert send("POST", "/echo/other").answer_status == 200
    # Asking about it computes nothing.
    assert send("GET", "/echo/demo").answer_status == 200
    # Whoever may not call it does not hear how busy it is.
    assert send("POST", "/echo/demo", headers={}).answer_status == 401
