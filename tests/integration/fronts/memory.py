"""A transport in memory, so that a front can be fed byte by byte without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from modelyard.core.exchange import Handler
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. ``limit`` above which writing pauses; ``take`` is the client reading."""

    def __init__(self, protocol: asyncio.Protocol, limit: int = 1 << 30) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.protocol = protocol
        self.limit = limit
        self.written = b""
        self.held = 0
        self.eof = self.closed = self.aborted = False
        self.reading = True
        self.paused = False
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        assert not self.eof, "written after the end"
        if not self.closed:
            self.written += bytes(data)
            self.held += len(data) if self.limit < 1 << 30 else 0
            if self.held > self.limit and not self.paused:
                self.paused = True
                self.protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def take(self, size: int | None = None) -> None:
        self.held = 0 if size is None else max(0, self.held - size)
        if self.paused and self.held <= self.limit // 4:
            self.paused = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.held

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def feed(self, data: bytes) -> None:
        """The client sends ``data``."""
        if not self.closed:
            assert self.reading
            self.protocol.data_received(data)

    def end(self) -> None:
        """The client ends its side."""
        if not self.closed and not self.protocol.eof_received():
            self.close()


class Timer:
    def __init__(self, loop: ManualLoop, entry: tuple[Any, ...]) -> None:
        self.loop, self.entry = loop, entry

    def cancel(self) -> None:
        if self.entry in self.loop.timers:
            self.loop.timers.remove(self.entry)


class ManualLoop:
    """The little of an event loop that a front uses, with a clock that tests move; callbacks wait for ``turn``."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.soon: list[tuple[Any, tuple[Any, ...]]] = []
        self.timers: list[tuple[float, Any, tuple[Any, ...]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # Made when needed: thousands of these are made.

    def time(self) -> float:
        return self.at

    def call_soon(self, callback: Any, *args: Any) -> None:
        self.soon.append((callback, args))

    def call_later(self, delay: float, callback: Any, *args: Any) -> Timer:
        self.timers.append((self.at + delay, callback, args))
        return Timer(self, self.timers[-1])

    def create_future(self) -> asyncio.Future[None]:
        self._loop = self._loop or asyncio.new_event_loop()
        return self._loop.create_future()

    def turn(self) -> None:
        while self.soon:
            soon, self.soon = self.soon, []
            for callback, args in soon:
                callback(*args)

    def advance(self, seconds: float) -> None:
        """Moves the clock and runs what has come due, in order."""
        end = self.at + seconds
        while due := sorted((timer for timer in self.timers if timer[0] <= end), key=lambda timer: timer[0])[:1]:
            self.timers.remove(due[0])
            self.at = max(self.at, due[0][0])
            due[0][1](*due[0][2])
            self.turn()
        self.at = end

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()


def front_of(handler: Handler, loop: ManualLoop, **config: Any) -> Http1Front:
    return Http1Front(handler, FrontConfig(**config), loop)  # type: ignore[arg-type]


def connect(front: Http1Front, limit: int = 1 << 30) -> MemoryTransport:
    return MemoryTransport(front.new_connection(), limit)


def split_replies(data: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """The answers in ``data``, each with its status, header fields and body; fails when they are not framed correctly."""
    replies = []
    while data:
        head, mark, data = data.partition(b"\r\n\r\n")
        assert mark, f"an answer without its end of head: {head!r}"
        line, *fields = head.split(b"\r\n")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers = {}
        for field in fields:
            name, _, value = field.partition(b": ")
            assert name not in headers
            headers[name] = value
        body = b""
        if headers.get(b"transfer-encoding") == b"chunked":
            while True:
                size, _, data = data.partition(b"\r\n")
                body += data[: int(size, 16)]
                assert data[int(size, 16) :].startswith(b"\r\n")
                data = data[int(size, 16) + 2 :]
                if int(size, 16) == 0:
                    break
        elif b"content-length" in headers:
            size = int(headers[b"content-length"])
            assert len(data) >= size
            body, data = data[:size], data[size:]
        elif int(status) not in {100, 204, 304}:
            body, data = data, b""
        replies.append((int(status), headers, body))
    return replies
