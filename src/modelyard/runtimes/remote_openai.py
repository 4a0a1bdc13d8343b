"""OpenAI's form of requests and streams, as a generation sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import FinishReason, GenerateRequest, GenerationUsage, GrammarKind, TokenChunk, TokenLogprob
from modelyard.core.unreadable import UNREADABLE

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_PLAIN = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


def request_of(request: GenerateRequest, model: str) -> tuple[str, dict[str, Any]]:
    """The path below the endpoint's root, and the body.

    Raises InvalidRequest for what this protocol cannot say.
    """
    sampling = request.sampling
    if sampling.max_tokens == 0:
        raise InvalidRequest("This model is served elsewhere, where its tokens cannot be counted without computing any.")
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "n": request.n}
    for name in _PLAIN:
        value = getattr(sampling, name)
        if value:
            body[name] = value
    if sampling.temperature == 0:
        body["temperature"] = 0
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if request.grammar is not None and not request.must_call:
        body["response_format"] = _format(request.grammar.kind, request.grammar.text)
    if request.messages:
        return "/chat/completions", body | _conversation(request)
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    return "/completions", body | {"prompt": list(request.token_ids) or request.prompt}


def _conversation(request: GenerateRequest) -> dict[str, Any]:
    """What is asked of chats only."""
    body: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.tools:
        body["tools"] = list(request.tools)
    if len(request.must_call) == 1:
        body["tool_choice"] = {"type": "function", "function": {"name": request.must_call[0]}}
    elif request.must_call:
        body["tool_choice"] = "required"
    return body


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message as the API has it, with arguments of calls as text."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [{**one, "function": {**one["function"], "arguments": _text(one["function"])}} for one in calls]}


def _text(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()


def _format(kind: GrammarKind, text: str) -> dict[str, Any]:
    if kind is GrammarKind.JSON:
        return {"type": "json_object"}
    if kind is GrammarKind.JSON_SCHEMA:
        schema = msgspec.json.decode(text)
        return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    raise InvalidRequest(f"This model is served elsewhere, and a grammar of kind {kind.value!r} is not passed on; use a JSON schema.")


class StreamReader:
    """Reads the lines of an answer's event stream into chunks. ``done`` once the stream said that it is whole."""

    def __init__(self, choices: int) -> None:
        self.done = False
        self.usage = GenerationUsage()
        self._left = set(range(choices))
        self._pieces = 0
        self._ending: TokenChunk | None = None
        self._calls: dict[tuple[int, int], dict[str, str]] = {}
        """Functions that are called, by choice and number: their names and arguments come in pieces."""

    def line(self, line: bytes) -> list[TokenChunk]:
        """Chunks that a line gives, never the last one of all.

        Raises InvalidRequest for an error that the endpoint reports on its way.
        """
        if not line.startswith(b"data:"):
            return []
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            self.done = True
            return []
        event = msgspec.json.decode(data, type=dict[str, Any])
        if isinstance(event.get("error"), dict):
            raise InvalidRequest(f"The endpoint says: {str(event['error'].get('message', 'it failed'))[:300]}")
        if isinstance(event.get("usage"), dict):
            self._count(event["usage"])
        found: list[TokenChunk] = []
        for choice in event.get("choices") or ():
            found += self._choice(choice)
        return found

    def last(self, compute_us: int) -> TokenChunk:
        """The last chunk of all; to be called when ``done`` or at the end of the stream."""
        usage = msgspec.structs.replace(self.usage, compute_us=max(1, compute_us))
        if not self.usage.tokens_out:
            usage = msgspec.structs.replace(usage, tokens_out=self._pieces)
        ending = self._ending or TokenChunk(finish=FinishReason.STOP)
        return msgspec.structs.replace(ending, last=True, usage=usage)

    @property
    def whole(self) -> bool:
        """Whether every choice has ended."""
        return self.done or not self._left

    def _choice(self, choice: dict[str, Any]) -> list[TokenChunk]:
        index = int(choice.get("index", 0))
        delta = choice.get("delta") or {}
        text = delta.get("content") or choice.get("text") or ""
        told = _logprobs(choice.get("logprobs") or {})
        found = []
        if text or told:
            self._pieces += 1
            found.append(TokenChunk(choice=index, text=text, logprobs=told))
        for one in delta.get("tool_calls") or ():
            self._pieces += 1
            call = self._calls.setdefault((index, int(one.get("index") or 0)), {"name": "", "arguments": ""})
            for name in call:
                call[name] += (one.get("function") or {}).get(name) or ""
        reason = choice.get("finish_reason")
        if reason:
            self._left.discard(index)
            if called := "".join([_tagged(call) for (at, _), call in sorted(self._calls.items()) if at == index]):
                found.append(TokenChunk(choice=index, text=called))
            if self._ending is not None:
                found.append(self._ending)
            self._ending = TokenChunk(choice=index, finish=_FINISH.get(reason, FinishReason.STOP))
        return found

    def _count(self, usage: dict[str, Any]) -> None:
        details = usage.get("prompt_tokens_details") or {}
        self.usage = GenerationUsage(
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_cached=int(details.get("cached_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
        )


def _tagged(call: Mapping[str, str]) -> str:
    """A call as open models write it, which protocols read."""
    try:
        arguments = msgspec.json.decode(call["arguments"] or "{}")
    except UNREADABLE:
        arguments = call["arguments"]
    return f"<tool_call>{msgspec.json.encode({'name': call['name'], 'arguments': arguments}).decode()}</tool_call>"


def _logprobs(told: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """In either of the API's forms: a list of objects, or lists side by side."""
    if told.get("content"):
        return tuple([_logprob(one, tuple([_logprob(other) for other in one.get("top_logprobs") or ()])) for one in told["content"]])
    tops = told.get("top_logprobs") or []
    found = []
    for at, (text, value) in enumerate(zip(told.get("tokens") or (), told.get("token_logprobs") or (), strict=False)):
        others = sorted(((tops[at] if at < len(tops) else None) or {}).items(), key=lambda pair: -pair[1])
        top = tuple([_logprob({"token": other, "logprob": logprob}) for other, logprob in others])
        found.append(_logprob({"token": text, "logprob": value}, top))
    return tuple(found)


def _logprob(one: Mapping[str, Any], top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    text = str(one.get("token", ""))
    raw = bytes(one["bytes"]) if one.get("bytes") else text.encode()
    return TokenLogprob(-1, text, raw, float(one.get("logprob") or 0.0), top)
