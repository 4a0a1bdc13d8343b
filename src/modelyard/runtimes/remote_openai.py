"""OpenAI's form of requests and streams, as a generation sees it."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import FinishReason, GenerateRequest, GenerationUsage, GrammarKind, TokenChunk

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_PLAIN = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


def request_of(request: GenerateRequest, model: str) -> tuple[str, dict[str, Any]]:
    """The path below the endpoint's root, and the body.

    Raises InvalidRequest for what this protocol cannot say.
    """
    if request.token_ids or request.sampling.max_tokens == 0 or request.logprobs is not None:
        raise InvalidRequest("This model is served elsewhere: token ids, counting tokens and log probabilities are not passed on.")
    if request.tools:
        raise InvalidRequest("This model is served elsewhere, and tools are not passed on.")
    sampling = request.sampling
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
    if request.grammar is not None:
        body["response_format"] = _format(request.grammar.kind, request.grammar.text)
    if request.messages:
        return "/chat/completions", body | {"messages": list(request.messages)}
    return "/completions", body | {"prompt": request.prompt}


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
        text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        found = []
        if text:
            self._pieces += 1
            found.append(TokenChunk(choice=index, text=text))
        reason = choice.get("finish_reason")
        if reason:
            self._left.discard(index)
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
