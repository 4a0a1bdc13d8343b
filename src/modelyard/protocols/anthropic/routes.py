"""``POST /v1/messages``, whole and streamed, and ``POST /v1/messages/count_tokens``."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import orjson

from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import FinishReason, GenerateRequest, Sampling
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.anthropic.errors import JSON, error_reply, stream_error
from modelyard.protocols.anthropic.mapping import messages_of, tools_of
from modelyard.protocols.anthropic.schemas import MessagesRequest
from modelyard.protocols.call import Call
from modelyard.protocols.generating import SSE, Choice, begin, generate, gone, in_body, whole
from modelyard.protocols.openai.schemas import read
from modelyard.protocols.openai.tools import Tools
from modelyard.protocols.routing import Protocol, Route


def messages(call: Call) -> None:
    """``POST /v1/messages``."""
    asked = read(call, MessagesRequest)
    if asked.max_tokens is None:
        raise InvalidRequest("max_tokens is missing; say how many tokens the answer may have.")
    tools = tools_of(asked)
    request = GenerateRequest(
        messages=messages_of(asked),
        tools=tools.offered,
        sampling=Sampling(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop=tuple(asked.stop_sequences or ()),
        ),
        grammar=tools.grammar(),
        must_call=tools.forced,
    )
    if asked.max_tokens < 1:
        raise InvalidRequest("max_tokens must be at least 1.")
    request.check()
    answer = _Answer(call, asked, tools)
    begin(call, answer.stream(request) if asked.stream else answer.whole(request))


def count_tokens(call: Call) -> None:
    """``POST /v1/messages/count_tokens``."""
    asked = read(call, MessagesRequest)
    request = GenerateRequest(messages=messages_of(asked), tools=tools_of(asked).offered, sampling=Sampling(max_tokens=0))
    begin(call, _count(call, request))


async def _count(call: Call, request: GenerateRequest) -> None:
    choices = await whole(call, request)
    if choices is None:
        gone(call)
    else:
        call.reply(200, JSON, orjson.dumps({"input_tokens": choices[0].chunks[-1].usage.tokens_in}))


class _Answer:
    def __init__(self, call: Call, asked: MessagesRequest, tools: Tools) -> None:
        self._call = call
        self._tools = tools
        self._head = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": asked.model or call.name}

    async def whole(self, request: GenerateRequest) -> None:
        choices = await whole(self._call, request)
        if choices is None:
            gone(self._call)
            return
        choice = choices[0]
        content = self._content(choice.text)
        ending = _ending(choice, content)
        self._call.reply(200, JSON, orjson.dumps({**self._head, "content": content, **ending, "usage": self._usage()}))

    async def stream(self, request: GenerateRequest) -> None:
        call, choice = self._call, Choice()
        shown, began, ended = 0, False, False
        async for chunk in generate(call, request):
            if not began:
                began = True
                call.start(SSE, stream_error)
                start: dict[str, Any] = {**self._head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": self._usage(0)}
                self._send("message_start", message=start)
            choice.add(chunk)
            ended = chunk.last
            clear = len(self._tools.read(choice.text).text) if ended else self._tools.clear(choice.text)
            if clear > shown:
                if not shown:
                    self._send("content_block_start", index=0, content_block={"type": "text", "text": ""})
                self._send("content_block_delta", index=0, delta={"type": "text_delta", "text": choice.text[shown:clear]})
                shown = clear
            await call.exchange.drain()
        if not began:
            gone(call)
            return
        if ended:
            self._close(choice, opened=bool(shown))
        call.finish()

    def _close(self, choice: Choice, *, opened: bool) -> None:
        content = self._content(choice.text)
        for index, block in enumerate(content):
            if opened and not index:
                self._send("content_block_stop", index=0)
            else:
                self._send_block(index, block)
        self._send("message_delta", delta=_ending(choice, content), usage=self._usage())
        self._send("message_stop")

    def _send_block(self, index: int, block: dict[str, Any]) -> None:
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": orjson.dumps(block["input"]).decode()}
        self._send("content_block_start", index=index, content_block=empty)
        self._send("content_block_delta", index=index, delta=delta)
        self._send("content_block_stop", index=index)

    def _content(self, text: str) -> list[dict[str, Any]]:
        said = self._tools.read(text)
        blocks: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text or not said.calls else []
        for one in said.calls:
            function = one["function"]
            identity = one["id"].replace("call_", "toolu_")
            blocks.append(
                {"type": "tool_use", "id": identity, "name": function["name"], "input": msgspec.json.decode(function["arguments"])}
            )
        return blocks

    def _usage(self, out: int | None = None) -> dict[str, Any]:
        cost = self._call.cost
        return {
            "input_tokens": cost.tokens_in - cost.tokens_cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cost.tokens_cached,
            "output_tokens": cost.tokens_out if out is None else out,
        }

    def _send(self, kind: str, **fields: Any) -> None:
        self._call.send(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n")


def _ending(choice: Choice, content: list[dict[str, Any]]) -> dict[str, Any]:
    if content[-1]["type"] == "tool_use":
        reason = "tool_use"
    elif choice.finish is FinishReason.LENGTH:
        reason = "max_tokens"
    else:
        reason = "stop_sequence" if choice.stop else "end_turn"
    return {"stop_reason": reason, "stop_sequence": choice.stop or None}


PROTOCOL = Protocol(
    "anthropic",
    ProtocolId.ANTHROPIC,
    (
        Route("POST", "/v1/messages", Action.INFER, messages, CallKind.GENERATE, names_deployment=True, locate=in_body),
        Route("POST", "/v1/messages/count_tokens", Action.INFER, count_tokens, CallKind.METADATA, names_deployment=True, locate=in_body),
    ),
    error_reply,
)
