"""``POST /v1/responses``, whole and streamed. Responses are not kept: each request carries its whole conversation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import orjson

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.generation import FinishReason, GenerateRequest, Sampling
from modelyard.protocols.call import Call
from modelyard.protocols.generating import SSE, Choice, begin, generate, gone, whole
from modelyard.protocols.openai.errors import JSON, stream_error
from modelyard.protocols.openai.schemas import ResponsesRequest, grammar_of, plain_messages, read, some
from modelyard.protocols.openai.tools import Said, Tools


def responses(call: Call) -> None:
    """``POST /v1/responses``."""
    asked = read(call, ResponsesRequest)
    for name in ("previous_response_id", "conversation", "prompt", "background"):
        if getattr(asked, name):
            raise Unsupported(
                f"{name} is not supported, because nothing is kept between calls; send the conversation as input and wait for the answer."
            )
    tools = Tools(asked.tools, asked.tool_choice)
    request = GenerateRequest(
        messages=plain_messages(_messages(asked)),
        tools=tools.offered,
        must_call=tools.forced,
        sampling=Sampling(max_tokens=some(asked.max_output_tokens, "max_output_tokens"), temperature=asked.temperature, top_p=asked.top_p),
        grammar=tools.grammar() or grammar_of((asked.text or {}).get("format")),
    )
    request.check()
    answer = _Answer(call, asked, tools)
    begin(call, answer.stream(request) if asked.stream else answer.whole(request))


def _messages(asked: ResponsesRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
    if isinstance(asked.input, str):
        return [*found, {"role": "user", "content": asked.input}]
    for item in asked.input:
        kind = item.get("type", "message")
        if kind == "message":
            found.append({"role": item.get("role"), "content": item.get("content")})
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
            called = {"id": item.get("call_id"), "type": "function", "function": function}
            found.append({"role": "assistant", "content": None, "tool_calls": [called]})
        elif kind == "function_call_output":
            found.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        elif kind != "reasoning":
            raise InvalidRequest(f"An input item is of type {kind!r}; use message, function_call or function_call_output.")
    if not found:
        raise InvalidRequest("There is no input; send a text or messages.")
    return found


class _Answer:
    def __init__(self, call: Call, asked: ResponsesRequest, tools: Tools) -> None:
        self._call = call
        self._asked = asked
        self._tools = tools
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created = int(time.time())
        self._number = 0

    async def whole(self, request: GenerateRequest) -> None:
        choices = await whole(self._call, request)
        if choices is None:
            gone(self._call)
            return
        body = self._body(self._output(self._tools.read(choices[0].text), choices[0], f"msg_{secrets.token_hex(24)}"), choices[0].finish)
        self._call.reply(200, JSON, orjson.dumps(body))

    async def stream(self, request: GenerateRequest) -> None:
        call, choice = self._call, Choice()
        item_id = f"msg_{secrets.token_hex(24)}"
        shown, began, ended = 0, False, False
        async for chunk in generate(call, request):
            if not began:
                began = True
                call.start(SSE, stream_error)
                self._send("response.created", response=self._body([], None))
                self._send("response.in_progress", response=self._body([], None))
            choice.add(chunk)
            ended = chunk.last
            clear = len(self._tools.read(choice.text).text) if ended else self._tools.clear(choice.text)
            if clear > shown:
                self._show(choice.text[shown:clear], item_id, first=not shown)
                shown = clear
            await call.exchange.drain()
        if not began:
            gone(call)
            return
        if ended:
            self._close(choice, item_id, opened=bool(shown))
        call.finish()

    def _show(self, text: str, item_id: str, *, first: bool) -> None:
        if first:
            self._open_text(item_id)
        self._text("response.output_text.delta", item_id, delta=text, logprobs=[])

    def _open_text(self, item_id: str) -> None:
        item = {"id": item_id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._send("response.output_item.added", output_index=0, item=item)
        self._text("response.content_part.added", item_id, part=_part(""))

    def _close(self, choice: Choice, item_id: str, *, opened: bool) -> None:
        said = self._tools.read(choice.text)
        output = self._output(said, choice, item_id)
        for index, item in enumerate(output):
            if item["type"] == "function_call":
                self._tell_function(index, item)
                continue
            if not opened:
                self._open_text(item_id)
            self._text("response.output_text.done", item_id, text=said.text, logprobs=[])
            self._text("response.content_part.done", item_id, part=_part(said.text))
            self._send("response.output_item.done", output_index=index, item=item)
        body = self._body(output, choice.finish)
        self._send("response.completed" if body["status"] == "completed" else "response.incomplete", response=body)

    def _tell_function(self, index: int, item: dict[str, Any]) -> None:
        self._send("response.output_item.added", output_index=index, item={**item, "arguments": "", "status": "in_progress"})
        place = {"item_id": item["id"], "output_index": index}
        self._send("response.function_call_arguments.delta", **place, delta=item["arguments"])
        self._send("response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"])
        self._send("response.output_item.done", output_index=index, item=item)

    def _text(self, kind: str, item_id: str, **fields: Any) -> None:
        self._send(kind, item_id=item_id, output_index=0, content_index=0, **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._call.send(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n")

    def _output(self, said: Said, choice: Choice, item_id: str) -> list[dict[str, Any]]:
        """A message, unless there are calls and nothing is said beside them; then the calls."""
        items: list[dict[str, Any]] = []
        if said.text or not said.calls:
            status = "incomplete" if choice.finish is FinishReason.LENGTH else "completed"
            items.append({"id": item_id, "type": "message", "status": status, "role": "assistant", "content": [_part(said.text)]})
        for one in said.calls:
            head = {"id": f"fc_{secrets.token_hex(24)}", "type": "function_call", "status": "completed", "call_id": one["id"]}
            items.append({**head, **one["function"]})
        return items

    def _body(self, output: list[dict[str, Any]], finish: FinishReason | None) -> dict[str, Any]:
        asked = self._asked
        cut = finish is FinishReason.LENGTH
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": "in_progress" if finish is None else "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": asked.model or self._call.name,
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature,
            "text": asked.text or {"format": {"type": "text"}},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "metadata": asked.metadata or {},
            "usage": None if finish is None else self._usage(),
        }

    def _usage(self) -> Mapping[str, Any]:
        cost = self._call.cost
        return {
            "input_tokens": cost.tokens_in,
            "input_tokens_details": {"cached_tokens": cost.tokens_cached},
            "output_tokens": cost.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": cost.tokens_in + cost.tokens_out,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
