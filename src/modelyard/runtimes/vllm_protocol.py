"""What vLLM's OpenAI server is asked and answers, beyond what OpenAI's API says: token ids in and out, and its own sampling fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import FinishReason, GenerateRequest, GenerationUsage, Grammar, GrammarKind, TokenChunk, TokenLogprob

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
_TOKEN_ID = "token_id:"  # noqa: S105 - no secret


def body_of(request: GenerateRequest, prompt: Sequence[int], most: int) -> dict[str, Any]:
    """The body for ``/v1/completions``.

    Raises InvalidRequest for a grammar that it does not know.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": "model",
        "prompt": list(prompt),
        "max_tokens": most,
        "n": request.n,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "min_tokens": sampling.min_tokens,
        "ignore_eos": sampling.ignore_end,
    }
    body |= {name: getattr(sampling, name) for name in _SAMPLING if getattr(sampling, name) is not None}
    if request.n > 1 and sampling.temperature == 0:
        body |= {"temperature": 1.0, "top_k": 1}  # the same tokens; it refuses several choices at temperature 0
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.grammar is not None:
        body["structured_outputs"] = _structured(request.grammar)
    return body


def _structured(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind is GrammarKind.JSON:
        return {"json_object": True}
    if grammar.kind is GrammarKind.JSON_SCHEMA:
        return {"json": msgspec.json.decode(grammar.text)}
    if grammar.kind is GrammarKind.REGEX:
        return {"regex": grammar.text}
    raise InvalidRequest("vLLM is given grammars as JSON schemas or regular expressions; this one is of another kind.")


class ChunkReader:
    """Reads an answer's event stream. ``raw`` gives the bytes that a token stands for."""

    def __init__(self, choices: int, prompt_tokens: int, raw: Callable[[int], bytes]) -> None:
        self.usage = GenerationUsage(tokens_in=prompt_tokens)
        self._left = set(range(choices))
        self._raw = raw
        self._out = 0
        self._cached = 0

    @property
    def whole(self) -> bool:
        """Whether every choice has ended."""
        return not self._left

    def line(self, line: str, queue_us: int, compute_us: int) -> list[TokenChunk]:
        """Chunks that a line gives.

        Raises InvalidRequest for an error that is reported on the way.
        """
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            return []
        event = msgspec.json.decode(data, type=dict[str, Any])
        if isinstance(event.get("error"), dict):
            raise InvalidRequest(f"vLLM says: {' '.join(str(event['error'].get('message', 'it failed')).split())[:300]}")
        choices = event.get("choices") or ()
        self._out += sum([len(choice.get("token_ids") or ()) for choice in choices])
        self._count(event.get("usage") or {}, queue_us, compute_us)
        return [self._chunk(choice) for choice in choices]

    def _count(self, usage: dict[str, Any], queue_us: int, compute_us: int) -> None:
        details = usage.get("prompt_tokens_details") or {}
        self._cached = int(details.get("cached_tokens") or self._cached)
        out = max(self._out, int(usage.get("completion_tokens") or 0))  # what it tells on the way is of one choice
        self.usage = GenerationUsage(self.usage.tokens_in, self._cached, out, queue_us, max(1, compute_us))

    def _chunk(self, choice: dict[str, Any]) -> TokenChunk:
        index = int(choice.get("index", 0))
        reason = choice.get("finish_reason")
        if reason:
            self._left.discard(index)
        stop = choice.get("stop_reason")
        return TokenChunk(
            choice=index,
            text=choice.get("text") or "",
            token_ids=tuple(choice.get("token_ids") or ()),
            logprobs=self._logprobs(choice.get("logprobs") or {}),
            finish=_FINISH.get(reason, FinishReason.STOP) if reason else None,
            stop=stop if isinstance(stop, str) else "",
            last=not self._left,
            usage=self.usage,
        )

    def _logprobs(self, told: dict[str, Any]) -> tuple[TokenLogprob, ...]:
        tops = told.get("top_logprobs") or []
        found = []
        for at, (name, value) in enumerate(zip(told.get("tokens") or (), told.get("token_logprobs") or (), strict=False)):
            others = sorted((tops[at] or {}).items() if at < len(tops) else (), key=lambda pair: -pair[1])
            top = tuple([self._logprob(other, logprob) for other, logprob in others])
            found.append(self._logprob(name, value, top))
        return tuple(found)

    def _logprob(self, name: str, value: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        token = int(name.removeprefix(_TOKEN_ID)) if name.startswith(_TOKEN_ID) else -1
        raw = self._raw(token) if token >= 0 else name.encode()
        return TokenLogprob(token, raw.decode(errors="replace"), raw, float(value), top)
