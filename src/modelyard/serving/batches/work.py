"""A turn of work on a batch: lines that have no answer yet are asked, many at once, and each answer is kept as soon as it is there.

Killed anywhere, nothing that was kept is asked again, and no line is told twice; what was under way is asked once more. A turn ends
after a while although lines are left, so that other jobs get theirs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import httpx
import msgspec

from modelyard.core.addresses import socket_path
from modelyard.core.clock import Clock
from modelyard.serving.batches.ending import finish, refuse
from modelyard.serving.batches.files import Batch, BatchFiles, Counts, Started
from modelyard.serving.batches.lines import Answer, Line, find_faults, kept_answers, numbered, read_line

logger = logging.getLogger(__name__)
_AGAIN = frozenset({429, 503})
"""Statuses of calls that are worth trying until the batch's own time is over."""
_FAILED = frozenset({500, 502, 504})
_FEW_TRIES = 3
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 0.2
_SAY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How a turn works."""

    url: str
    """Of the inference listener; may be ``unix:/path``."""
    headers: Mapping[str, str]
    """What makes calls the submitting key's own."""
    concurrency: int = 16
    turn_seconds: float = 300.0
    call_seconds: float = 310.0
    retention_seconds: float = 30 * 86400.0


class Turn:
    """One process's work on a batch. ``report`` is told the share of lines that are answered."""

    def __init__(self, files: BatchFiles, batch: Batch, options: WorkOptions, clock: Clock, report: Callable[[float], None]) -> None:
        self._files, self._batch, self._options, self._clock = files, batch, options, clock
        self._report = report
        self._until_s = time.monotonic() + options.turn_seconds
        self._stopped = ""
        self._answered = self._good = 0

    def run(self) -> bool:
        """Works; whether the batch has ended."""
        files, batch = self._files, self._batch
        if files.ended(batch) is not None:
            return True
        source = files.data(batch.workspace_id, batch.file_id)
        started = files.started(batch)
        if started is None:
            count, faults = find_faults(source, batch.endpoint)
            if faults:
                refuse(files, batch, faults, self._clock)
                return True
            started = Started(total=count, time_ns=self._clock.time_ns())
            files.start(batch, started)
        left = asyncio.run(self._answer(started.total))
        status = self._stopped or ("" if left else "completed")
        if status:
            finish(files, batch, status, clock=self._clock, retention_seconds=self._options.retention_seconds)
        return bool(status)

    async def _answer(self, total: int) -> int:
        """How many lines are still to be answered."""
        path = self._files.answers(self._batch)
        kept, end = kept_answers(path)
        self._answered, self._good = len(kept), sum(one.good for one in kept.values())
        lines = ((at, raw) for at, raw in numbered(self._files.data(self._batch.workspace_id, self._batch.file_id)) if at not in kept)
        with path.open("ab") as answers:
            answers.truncate(end)  # half of a line that a killed process left
            keep = _Keeper(answers.fileno())
            async with self._client() as client:
                tasks = [asyncio.create_task(self._work(client, lines, keep)) for _ in range(self._options.concurrency)]
                watch = asyncio.create_task(self._watch(total, tasks))
                done = await asyncio.gather(*tasks, return_exceptions=True)
                watch.cancel()
            keep.sync()
        self._note(total)
        for one in done:
            if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
                raise one
        return total - self._answered

    async def _work(self, client: httpx.AsyncClient, lines: Iterator[tuple[int, bytes]], keep: _Keeper) -> None:
        for at, raw in lines:
            answer = await self._ask(client, at, read_line(raw))
            if answer is None:
                return
            keep.add(answer)
            self._answered += 1
            self._good += answer.good
            if time.monotonic() >= self._until_s:
                return

    async def _ask(self, client: httpx.AsyncClient, at: int, line: Line) -> Answer | None:
        """The answer to a line; None when the turn ended first."""
        tries = 0
        while True:
            tries += 1
            status, request_id, body, wait_s = await self._call(client, at, line)
            if status in _AGAIN and self._clock.time_ns() + wait_s * 1e9 < self._batch.expires_ns:
                pause = max(wait_s, min(_LONGEST_PAUSE_S, 0.25 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))  # noqa: S311 - spreads tries
            elif status in _FAILED and tries < _FEW_TRIES:
                pause = 0.5 * tries
            else:
                return Answer(at=at, custom_id=line.custom_id, status=status, request_id=request_id, body=body)
            if time.monotonic() + pause >= self._until_s:
                return None
            await asyncio.sleep(pause)

    async def _call(self, client: httpx.AsyncClient, at: int, line: Line) -> tuple[int, str, msgspec.Raw, float]:
        request_id = f"{self._batch.id}-{at}"
        try:
            reply = await client.post(self._batch.endpoint, content=bytes(line.body), headers={"x-request-id": request_id})
        except httpx.TransportError as error:
            logger.info("Line %d could not be asked: %s", at, error)
            return 503, request_id, _said(f"The server could not be reached: {error}."), 0.5
        body = msgspec.Raw(reply.content) if _is_json(reply.content) else _said(f"The call ended with status {reply.status_code}.")
        wait_s = float(reply.headers.get("retry-after-ms", "0")) / 1000
        return reply.status_code, request_id, body, wait_s

    async def _watch(self, total: int, tasks: list[asyncio.Task[None]]) -> None:
        """Looks whether the batch is to end; what is under way then ends at once."""
        said = 0.0
        while True:
            now = time.monotonic()
            if now - said >= _SAY_S:
                said = now
                self._note(total)
            if self._files.cancelled_ns(self._batch):
                self._stopped = "cancelled"
            elif self._clock.time_ns() >= self._batch.expires_ns:
                self._stopped = "expired"
            if self._stopped:
                for task in tasks:
                    task.cancel()
                return
            await asyncio.sleep(_LOOK_S)

    def _note(self, total: int) -> None:
        self._files.note(self._batch, Counts(total=total, completed=self._good, failed=self._answered - self._good))
        self._report(self._answered / max(1, total))

    def _client(self) -> httpx.AsyncClient:
        path = socket_path(self._options.url)
        limits = httpx.Limits(max_connections=self._options.concurrency)
        transport = httpx.AsyncHTTPTransport(uds=path, limits=limits) if path else None
        return httpx.AsyncClient(
            base_url="http://modelyard" if path else self._options.url,
            transport=transport,
            limits=limits,
            timeout=self._options.call_seconds,
            headers={"content-type": "application/json", **self._options.headers},
            trust_env=False,
        )


class _Keeper:
    """Appends answers. What the system has taken outlives this process; it is put on the disk now and then, and at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._synced_s = time.monotonic()

    def add(self, answer: Answer) -> None:
        left = msgspec.json.encode(answer) + b"\n"
        while left:
            left = left[os.write(self._descriptor, left) :]
        if time.monotonic() - self._synced_s >= _SAY_S:
            self.sync()

    def sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced_s = time.monotonic()


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return False
    return True


def _said(message: str) -> msgspec.Raw:
    error = {"message": message, "type": "server_error", "param": None, "code": "unavailable"}
    return msgspec.Raw(msgspec.json.encode({"error": error}))
