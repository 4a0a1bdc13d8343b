"""``POST /v1/chat/completions``, whole and streamed."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.generation import FinishReason, GenerateRequest, TokenChunk, TokenLogprob
from modelyard.protocols.call import Call
from modelyard.protocols.generating import SSE, begin, generate, gone, whole
from modelyard.protocols.openai.errors import JSON, stream_error
from modelyard.protocols.openai.schemas import ChatRequest, grammar_of, plain_messages, read
from modelyard.protocols.openai.tools import Tools


def chat(call: Call) -> None:
    """``POST /v1/chat/completions``."""
    asked = read(call, ChatRequest)
    if not asked.messages:
        raise InvalidRequest("There are no messages; send at least one.")
    if asked.functions or asked.function_call:
        raise Unsupported("functions and function_call are an older form that is not supported; send tools and tool_choice.")
    if set(asked.modalities or ()) - {"text"}:
        raise Unsupported(f"modalities asks for {', '.join(map(repr, asked.modalities or ()))}; answers are text only.")
    tools = Tools(asked.tools, asked.tool_choice)
    request = GenerateRequest(
        messages=plain_messages(asked.messages),
        tools=tools.offered,
        must_call=tools.forced,
        template=asked.chat_template_kwargs or {},
        sampling=asked.sampling(asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens),
        grammar=tools.grammar() or grammar_of(asked.response_format),
        n=1 if asked.n is None else asked.n,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
    )
    request.check()
    answer = _Answer(call, asked, tools)
    begin(call, answer.stream(request) if asked.stream else answer.whole(request))


class _Begun:
    """A choice that is being streamed."""

    def __init__(self) -> None:
        self.text = ""
        self.shown = 0
        """Characters of it that were sent."""
        self.told: list[TokenLogprob] = []
        """Log probabilities of tokens that were not."""


class _Answer:
    def __init__(self, call: Call, asked: ChatRequest, tools: Tools) -> None:
        self._call = call
        self._asked = asked
        self._tools = tools
        self._head = {"id": f"chatcmpl-{secrets.token_hex(16)}", "created": int(time.time()), "model": asked.model or call.name}

    async def whole(self, request: GenerateRequest) -> None:
        choices = await whole(self._call, request)
        if choices is None:
            gone(self._call)
            return
        listed = []
        for index, choice in enumerate(choices):
            text, calls = self._tools.read(choice.text)
            message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text, "refusal": None}
            if calls:
                message["tool_calls"] = calls
            told = [one for chunk in choice.chunks for one in chunk.logprobs]
            listed.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": {"content": [logprob(one) for one in told], "refusal": None} if request.logprobs is not None else None,
                    "finish_reason": _finish(choice.finish, called=bool(calls)),
                }
            )
        body = {**self._head, "object": "chat.completion", "choices": listed, "usage": usage(self._call)}
        self._call.reply(200, JSON, orjson.dumps(body))

    async def stream(self, request: GenerateRequest) -> None:
        call = self._call
        begun = [_Begun() for _ in range(request.n)]
        last: TokenChunk | None = None
        async for chunk in generate(call, request):
            if last is None:  # an error before anything came is still an answer of its own
                call.start(SSE, stream_error)
                for index in range(request.n):
                    self._send(index, {"role": "assistant", "content": ""}, None)
            last = chunk
            self._tell(chunk, begun[chunk.choice], logprobs=request.logprobs is not None)
            await call.exchange.drain()
        if last is None:
            gone(call)
            return
        if self._asked.include_usage and last.last:
            call.send(_event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage(call)}))
        if last.last:
            call.send(b"data: [DONE]\n\n")
        call.finish()

    def _tell(self, chunk: TokenChunk, begun: _Begun, *, logprobs: bool) -> None:
        """Sends what is clear with this chunk; what may yet be a call is held back until the choice ends."""
        begun.text += chunk.text
        begun.told += chunk.logprobs
        calls: tuple[dict[str, Any], ...] = ()
        if chunk.finish is None:
            clear = self._tools.clear(begun.text)
        else:
            said, calls = self._tools.read(begun.text)
            clear = len(said)
        piece, begun.shown = begun.text[begun.shown : clear], max(begun.shown, clear)
        if piece or (begun.told and begun.shown == len(begun.text)):
            self._send(chunk.choice, {"content": piece}, None, begun.told if logprobs else None)
            begun.told = []
        if calls:
            self._send(chunk.choice, {"tool_calls": [{"index": at, **one} for at, one in enumerate(calls)]}, None)
        if chunk.finish is not None:
            self._send(chunk.choice, {}, _finish(chunk.finish, called=bool(calls)))

    def _send(self, index: int, delta: dict[str, Any], finish: str | None, told: list[TokenLogprob] | None = None) -> None:
        choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        if told is not None:
            choice["logprobs"] = {"content": [logprob(one) for one in told], "refusal": None}
        body: dict[str, Any] = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._asked.include_usage:
            body["usage"] = None
        self._call.send(_event(body))


def usage(call: Call) -> dict[str, Any]:
    """What a call has used, which is also what it is charged for."""
    prompt, out = call.cost.tokens_in, call.cost.tokens_out
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": call.cost.tokens_cached},
    }


def logprob(one: TokenLogprob) -> dict[str, Any]:
    """A chosen token as the API tells it."""
    return {**_token(one), "top_logprobs": [_token(other) for other in one.top]}


def _token(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.text, "logprob": max(one.logprob, -9999.0), "bytes": list(one.raw)}


def _finish(reason: FinishReason, *, called: bool) -> str:
    if called and reason is FinishReason.STOP:
        return "tool_calls"
    return "length" if reason is FinishReason.LENGTH else "stop"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
