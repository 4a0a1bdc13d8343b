"""From a call to a generation and back: what every protocol of language models shares.

A call that generates has a task of its own, because it goes on for long and what it hands out must be paid for on the way. When
the client goes away the generation is cancelled, and the engine computes it no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec

from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.exchange import Abort
from modelyard.core.generation import Cancel, FinishReason, GenerateRequest, GenerationUsage, TokenChunk
from modelyard.core.unreadable import UNREADABLE
from modelyard.gate.check import scoped_deployment
from modelyard.gate.permit import expect_soon, spend_soon
from modelyard.protocols.call import Call
from modelyard.protocols.compression import decompress
from modelyard.protocols.starting import follow_start

SSE = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
MOST_BYTES = 64 * 1024 * 1024
NOTHING = GenerationUsage()
_tasks: set[asyncio.Task[None]] = set()
"""The event loop itself holds tasks weakly."""


class _Named(msgspec.Struct):
    model: str = ""


_read_named = msgspec.json.Decoder(_Named).decode


def document(call: Call) -> bytes:
    """The request's body, before ``Call.body`` is there."""
    coding = call.header(b"content-encoding")
    return call.exchange.body if coding is None else decompress(coding, call.exchange.body, MOST_BYTES)


def in_body(call: Call) -> None:
    """Means the deployment that the body's field ``model`` names, as ``NAME`` or ``NAME@VERSION``; without one, that of the key's scope.

    Raises InvalidRequest.
    """
    try:
        named = _read_named(document(call)).model
    except UNREADABLE as error:
        raise InvalidRequest(f"The body is not a JSON object of this API: {error}.") from None
    name, _, version = named.partition("@")
    call.params["name"] = name or scoped_deployment(call.grant, call.exchange.path)
    call.params["version"] = version


def begin(call: Call, work: Coroutine[Any, Any, None]) -> None:
    """Runs ``work`` as the call's own task; what it raises becomes the answer."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)

    def ended(done: asyncio.Task[None]) -> None:
        _tasks.discard(done)
        if not done.cancelled():
            call.guard(done.result)

    task.add_done_callback(ended)


async def generate(call: Call, request: GenerateRequest, before: GenerationUsage = NOTHING) -> AsyncIterator[TokenChunk]:
    """The chunks of a generation, each paid for before it comes. ``before`` is what the call used in generations before this one.

    Raises what the request or the model is refused with, LimitExceeded at the end of a budget, and ends early, without a last chunk,
    when the client goes away.
    """
    view = call.choose(call.params.get("version", ""))
    call.cost.version_id = view.version_id
    deadline_ns = call.context.sooner(request.deadline_ns) if call.context is not None else request.deadline_ns
    request = msgspec.structs.replace(request, version=view.pin, deadline_ns=deadline_ns)
    request.check()
    if call.plane.starting:
        follow_start(call)
    items: asyncio.Queue[TokenChunk | ModelyardError | Abort] = asyncio.Queue()
    call.exchange.on_abort = items.put_nowait
    if call.exchange.aborted is not None:
        return
    cancel: Cancel = call.plane.generate(call.grant.workspace_id, call.params["name"], request, items.put_nowait)
    ended = False
    try:
        while not ended:
            item = await items.get()
            if isinstance(item, Abort):
                return
            if isinstance(item, ModelyardError):
                ended = True
                raise item
            await _pay(call, item, before)
            ended = item.last
            yield item
    finally:
        if not ended:
            cancel()


async def _pay(call: Call, chunk: TokenChunk, before: GenerationUsage) -> None:
    cost, usage = call.cost, chunk.usage
    first = not cost.tokens_in
    cost.tokens_in, cost.tokens_cached = before.tokens_in + usage.tokens_in, before.tokens_cached + usage.tokens_cached
    cost.queue_us, cost.compute_us, cost.rows = before.queue_us + usage.queue_us, before.compute_us + usage.compute_us, 1
    permit = call.permit
    computed = len(chunk.token_ids) if usage.tokens_out else 0  # a prompt that is only told was not generated
    if chunk.last:
        # A model that is served elsewhere says how many there were, not which, and only in the end.
        computed = max(computed, before.tokens_out + usage.tokens_out - cost.tokens_out)
    if permit is None:
        cost.tokens_out += computed
        return
    if first and permit.foreseen:
        await expect_soon(permit, Cost(rows=1, tokens_in=usage.tokens_in, version_id=cost.version_id), len(call.exchange.body))
    await spend_soon(permit, cost, tokens_out=computed, size=len(call.exchange.body) + call.sent)


class Choice:
    """What has come of one choice."""

    def __init__(self) -> None:
        self.text = ""
        self.chunks: list[TokenChunk] = []
        self.finish = FinishReason.LENGTH
        self.stop = ""

    def add(self, chunk: TokenChunk) -> None:
        self.text += chunk.text
        self.chunks.append(chunk)
        if chunk.finish is not None:
            self.finish, self.stop = chunk.finish, chunk.stop


async def whole(call: Call, request: GenerateRequest, before: GenerationUsage = NOTHING) -> list[Choice] | None:
    """All choices of a generation; None when the client went away meanwhile."""
    choices = [Choice() for _ in range(request.n)]
    last = False
    async for chunk in generate(call, request, before):
        choices[chunk.choice].add(chunk)
        last = chunk.last
    return choices if last else None


def gone(call: Call) -> None:
    """Ends a call whose client went away, so that what it used is recorded."""
    if not call.answered:
        call.reply(499, (), b"")
