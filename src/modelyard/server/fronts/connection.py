"""One HTTP/1.1 connection: reads requests one after the other, has one open exchange at most, and ends in good order."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final, cast

from modelyard.core.access import Certificate
from modelyard.core.exchange import Abort, Exchange
from modelyard.server.fronts.exchange import Answer, Http1Exchange
from modelyard.server.fronts.intake import Intake
from modelyard.server.fronts.limits import Refused

if TYPE_CHECKING:
    from modelyard.server.fronts.http1 import Http1Front

_log = logging.getLogger(__name__)
_TURN: Final = 32
"""Pipelined requests that one connection may have handled in one turn of the loop."""


class Phase(IntEnum):
    """What a connection waits for; each phase has its own time limit."""

    IDLE = 0  # the first byte of the next request
    HEAD = 1  # the rest of a head
    BODY = 2  # the rest of a body
    ANSWER = 3  # the handler
    LINGER = 4  # the client's end; what it sends is thrown away
    CLOSED = 5


_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_ANSWER: Final = Phase.ANSWER
_LINGER: Final = Phase.LINGER
_CLOSED: Final = Phase.CLOSED


class Connection:
    """Made by the front for each accepted connection; driven by the transport, the exchange and the front's sweep.

    Has the functions of ``asyncio.Protocol``, but not by inheritance: where it is compiled it has no base that is not.
    """

    def __init__(self, front: Http1Front) -> None:
        self.loop = front.loop
        self.encoder = front.encoder
        self.draining = front.draining
        self.peer = ""
        self.secure = False
        self.certificate: Certificate | None = None
        self.phase: Phase = _HEAD
        self.since = front.now
        """When the phase began, on the front's coarse clock."""
        self._front = front
        self._config = front.config
        self._handler = front.handler
        self._intake = Intake(front.config, front.reader, front.budget)
        self._exchange: Http1Exchange | None = None
        self._advancing = False
        self._reading = True
        self._ended = False
        """The client has closed its side."""
        self._writable: asyncio.Future[None] | None = None
        """Set while the client is slow to take what was written."""
        self._unsent = 0
        self._unsent_since = 0.0

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        peer = transport.get_extra_info("peername")
        # A socket for both families names IPv4 clients ``::ffff:192.0.2.1``.
        self.peer = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "unix"
        self.secure = transport.get_extra_info("sslcontext") is not None
        front = self._front
        if front.shown_by is not None:
            self.certificate = front.shown_by(transport)
        if front.proxies is not None and front.proxies.trusts(self.peer):
            self._handler = self._handle_forwarded
        front.joined(self)

    def data_received(self, data: bytes) -> None:
        if self.phase >= _LINGER:
            return
        intake = self._intake
        if intake.buffer:
            intake.feed(data)
        else:
            intake.buffer = data
        if self._exchange is None and self._writable is None:
            self._advance()
        elif self._reading and len(intake) > self._config.max_pipelined_bytes:
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        exchange = self._exchange
        if exchange is None:
            if self._writable is None and self.phase < _LINGER:
                self._advance()
            return self.phase is not _LINGER
        # A client that went away looks just like one that has no more to say. A begun answer finds out by writing.
        if exchange.answer is Answer.OPEN:
            self.loop.call_later(self._config.half_close_grace_s, self._lose, exchange)
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.phase = _CLOSED
        self._intake.clear()
        self._abort(Abort.DISCONNECTED)
        self.resume_writing()
        self._front.left(self)

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)
            if self._exchange is None:
                self._go_on()

    # What the exchange tells

    def write_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Writes a large answer without joining it."""
        self._transport.writelines(parts)

    async def wait_writable(self) -> None:
        """Returns when the client has taken most of what was written, or is gone."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def answered(self, exchange: Http1Exchange) -> None:
        """The open exchange has its whole answer."""
        self._exchange = None
        if not exchange.persistent or self.draining:
            self.close_gently()
            return
        self.phase = _IDLE
        self.since = self._front.now
        if not self._advancing and (self._ended or not self._reading or self._intake.buffer):
            self._go_on()

    # Reading requests

    def _go_on(self) -> None:
        """Continues with what was kept while the last exchange was open."""
        if self.phase >= _LINGER:
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if not self._advancing and self._exchange is None and self._writable is None:
            self._advance()

    def _advance(self) -> None:
        """Handles whole requests until one stays open, what came is used up, or it is another connection's turn."""
        self._advancing = True
        intake, turns = self._intake, _TURN
        try:
            while self._exchange is None and self._writable is None and self.phase < _LINGER:
                if not intake.buffer:
                    if self._ended or intake.in_body:
                        self._await_more()
                    break
                if not turns:
                    self.loop.call_soon(self._go_on)
                    break
                turns -= 1
                exchange = intake.take(self)
                if exchange is None:
                    exchange = self._await_more()
                    if exchange is None:
                        break
                self._exchange = exchange
                self.phase = _ANSWER
                self.since = self._front.now
                try:
                    self._handler(exchange)
                except Exception:  # noqa: BLE001 - the edge of a request: a fault in a handler ends that request, not the loop
                    _log.exception("The handler raised for %s %s.", exchange.method, exchange.path)
                    self._fail(exchange)
        except Refused as refused:
            self.refuse(refused)
        finally:
            self._advancing = False

    def _fail(self, exchange: Http1Exchange) -> None:
        """The handler raised, which it should not."""
        if exchange.answer is Answer.STARTED:
            self._transport.abort()
        elif exchange.answer is Answer.OPEN:
            exchange.answer = Answer.ABORTED
            self.refuse(Refused(500, "The server failed to handle the request; its log says why."))

    def _handle_forwarded(self, exchange: Exchange) -> None:
        """For connections from trusted proxies, which say whose request it is."""
        proxies = self._front.proxies
        if proxies is not None:
            exchange.peer = proxies.client(exchange.headers, self.peer)
        self._front.handler(exchange)

    def _await_more(self) -> Http1Exchange | None:
        """What came is no whole request: says what is missing, and so which time limit holds.

        Gives a request that is to be answered all the same.
        """
        intake = self._intake
        if self._ended:
            if intake or intake.in_body:
                raise Refused(400, "The connection ended before the request was whole.")
            self.close_gently()
        elif intake.in_body:
            if self.phase is not _BODY:
                self.phase = _BODY
                self.since = self._front.now
            if intake.wants_continue:
                return self._continue()
        elif intake and self.phase is _IDLE:
            self.phase = _HEAD
            self.since = self._front.now
        return None

    def _continue(self) -> Http1Exchange | None:
        """The client waits before it sends the body: it is told to go on, or answered at once where a body would change nothing."""
        intake, wants_body = self._intake, self._front.wants_body
        intake.wants_continue = False
        pending = intake.pending
        if pending is None or wants_body is None or wants_body(pending):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        pending.persistent = False  # the client may send the body all the same
        return pending

    # Ending

    def refuse(self, refused: Refused) -> None:
        """Answers in the handler's stead and closes."""
        exchange = self._exchange
        with_body = exchange is None or exchange.method != "HEAD"
        if exchange is not None and exchange.answer is Answer.OPEN:
            exchange.abort(Abort.TIMED_OUT)
        request_id = secrets.token_hex(16)
        _log.info("Refused a request from %s: %d %s", self.peer, refused.status, refused.message, extra={"request_id": request_id})
        self.write(self.encoder.refusal(refused.status, refused.message, request_id, with_body=with_body))
        self.close_gently()

    def close_gently(self) -> None:
        """Sends what is written and the end of our side, then waits for the client's end.

        Closing at once would answer bytes that are still on their way with a reset, which can destroy the answer before the
        client has read it.
        """
        self._exchange = None
        self._intake.clear()
        self.phase = _LINGER
        self.since = self._front.now
        if self._ended or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    @property
    def busy(self) -> bool:
        """Whether a request is under way whose answer is not whole."""
        return self._exchange is not None

    def in_use(self, since: float) -> bool:
        """Whether a request is under way or was answered after ``since``, and the next answer can still say that it is the last."""
        if self.draining:
            return False
        exchange = self._exchange
        return self.phase is _IDLE and self.since >= since if exchange is None else exchange.answer is Answer.OPEN

    def drain(self) -> None:
        """From now on each answer ends the connection."""
        self.draining = True

    def close_idle(self) -> None:
        """Ends a connection that has no request under way; a pooled client may notice only when it next uses it."""
        if self.phase is _IDLE or (self.phase is _HEAD and not self._intake):
            self._transport.close()

    def kill(self, reason: Abort) -> None:
        """Ends the connection at once, whatever is under way."""
        self._abort(reason)
        self._transport.abort()

    def _abort(self, reason: Abort) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort(reason)

    def _lose(self, exchange: Http1Exchange) -> None:
        """The client has closed its side and the time in which a quick answer may still reach it is over."""
        if self._exchange is exchange and exchange.answer is Answer.OPEN:
            self.kill(Abort.DISCONNECTED)

    # Time limits

    def check(self, now: float) -> None:
        """Called by the front's sweep: ends the connection if its phase, or the client's taking of answers, lasts too long."""
        config = self._config
        if self._transport.get_write_buffer_size() or self._unsent:
            self._check_writing(now)
        waited = now - self.since
        match self.phase:
            case Phase.IDLE:
                if config.idle_timeout_s and waited > config.idle_timeout_s and not self._intake:
                    self.close_gently()
            case Phase.HEAD:
                if config.head_timeout_s and waited > config.head_timeout_s:
                    self._late("The head of the request") if self._intake else self.close_gently()
            case Phase.BODY:
                if config.body_timeout_s and waited > config.body_timeout_s + self._intake.body_bytes / config.min_body_rate:
                    self._late("The body of the request")
            case Phase.ANSWER:
                exchange = self._exchange
                if exchange is not None and exchange.answer is Answer.OPEN and 0 < config.answer_timeout_s < waited:
                    self.refuse(Refused(504, "The answer took too long."))
            case Phase.LINGER:
                if waited > config.linger_timeout_s and not self._unsent:
                    self._transport.abort()
            case _:
                pass

    def _late(self, what: str) -> None:
        self.refuse(Refused(408, f"{what} did not come in time."))

    def _check_writing(self, now: float) -> None:
        """A client must take something of its answer in each ``write_timeout_s``."""
        unsent = self._transport.get_write_buffer_size()
        if not unsent or not self._unsent or unsent < self._unsent:
            self._unsent, self._unsent_since = unsent, now
            self.since = max(self.since, now) if self.phase is _LINGER else self.since
        elif self._config.write_timeout_s and now - self._unsent_since > self._config.write_timeout_s:
            self.kill(Abort.TIMED_OUT)
