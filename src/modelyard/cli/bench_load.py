"""The load of a benchmark, in a process of its own: so many connections, each with one call under way, as fast as answers come.

usage: python -m modelyard.cli.bench_load < PLAN > RESULT      (both JSON; ``cli/bench.py`` writes the one and reads the other)
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop

from modelyard.sdk.trust import socket_of, tls

HEAD_END = b"\r\n\r\n"


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, where, and for how long."""

    host: str
    port: int
    tls: bool
    request: bytes
    """A whole HTTP/1.1 request."""
    connections: int
    seconds: float
    warm_seconds: float


class LoadResult(msgspec.Struct, kw_only=True):
    """What came back."""

    seconds: float = 0.0
    durations_us: list[int] = []
    """Of answers with status 200."""
    refused: int = 0
    """Answers with 429 or 503."""
    failed: int = 0
    """All others, and connections that broke."""
    first_failure: str = ""


class _Caller(asyncio.Protocol):
    """One connection after the other: where the server says that an answer is the last, the next call goes over a new one."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._last = False
        self._data = b""
        self._length = -1
        self._status = 0
        self._began = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._load.open.add(self.transport)
        self._send()

    def _send(self) -> None:
        if self.transport is not None and not self._load.over:
            self._began = time.perf_counter_ns()
            self.transport.write(self._load.plan.request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._length < 0:
            end = self._data.find(HEAD_END)
            if end < 0:
                return
            head = self._data[:end].lower()
            self._status = int(head[9:12])
            at = head.find(b"content-length:")
            self._last = b"\r\nconnection: close" in head
            self._length = (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0) + end + len(HEAD_END)
        if len(self._data) >= self._length:
            body, self._data, self._length = self._data, b"", -1
            self._load.answered(self._status, (time.perf_counter_ns() - self._began) // 1000, body)
            if not self._last:
                self._send()
            elif self.transport is not None:
                self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self._load.open.discard(self.transport)
        if self._load.over:
            return
        if self._last and error is None:
            self._load.connect()
        else:
            self._load.broken(f"the connection ended: {error or 'the server closed it'}")


class _Load:
    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.result = LoadResult()
        self.over = False
        self._counting = False
        self._left = plan.connections
        self._stop = asyncio.Event()
        self._secure = tls() if plan.tls else None
        self.open: set[asyncio.Transport] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def answered(self, status: int, taken_us: int, body: bytes) -> None:
        if not self._counting or self.over:
            return
        if status == 200:
            self.result.durations_us.append(taken_us)
        elif status in {429, 503}:
            self.result.refused += 1
        else:
            self.result.failed += 1
            self.result.first_failure = self.result.first_failure or body.partition(HEAD_END)[2].decode(errors="replace")[:300]

    def broken(self, why: str) -> None:
        if self.over:
            return
        self.result.failed += 1
        self.result.first_failure = self.result.first_failure or why
        self._left -= 1
        if not self._left:
            self._stop.set()

    def connect(self) -> None:
        """Opens one more connection."""
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        host, port, loop = self.plan.host, self.plan.port, asyncio.get_running_loop()
        path = socket_of(host)
        try:
            if path:
                await loop.create_unix_connection(lambda: _Caller(self), path)
            else:
                await loop.create_connection(lambda: _Caller(self), host, port, ssl=self._secure)
        except OSError as error:
            self.broken(f"{path or f'{host}:{port}'} cannot be reached: {error}")

    async def run(self) -> LoadResult:
        plan = self.plan
        for _ in range(plan.connections):
            await self._connect()
        await self._wait(plan.warm_seconds)
        self._counting, began = True, time.perf_counter()
        await self._wait(plan.seconds)
        self.over, self.result.seconds = True, time.perf_counter() - began
        for transport in tuple(self.open):
            transport.close()
        return self.result

    async def _wait(self, seconds: float) -> None:
        """So long, or until every connection is broken."""
        await asyncio.wait([asyncio.ensure_future(self._stop.wait())], timeout=seconds)


def main() -> int:
    """Runs the plan on standard input; the exit status."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)

    async def run() -> LoadResult:
        return await _Load(plan).run()

    result = uvloop.run(run())
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
