"""``POST /v1/completions``, whole and streamed: a prompt, or several, continued."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.generation import FinishReason, GenerateRequest, GenerationUsage, TokenChunk
from modelyard.protocols.call import Call
from modelyard.protocols.generating import NOTHING, SSE, begin, generate, gone, whole
from modelyard.protocols.openai.errors import JSON, stream_error
from modelyard.protocols.openai.schemas import CompletionRequest, read

USUAL_TOKENS = 16
"""What the API generates where a request does not say."""
Prompt = str | list[int]


def completions(call: Call) -> None:
    """``POST /v1/completions``."""
    asked = read(call, CompletionRequest)
    if asked.suffix:
        raise Unsupported("suffix is not supported: text is continued at its end only.")
    if asked.best_of is not None and asked.best_of != (asked.n or 1):
        raise Unsupported("best_of is not supported; use n and choose yourself.")
    if asked.echo and asked.logprobs is not None:
        raise Unsupported("echo with logprobs is not supported: log probabilities are of generated tokens.")
    prompts = _prompts(asked)
    if asked.stream and len(prompts) > 1:
        raise Unsupported("Several prompts cannot be streamed in one call; send one each.")
    requests = [_request(asked, prompt) for prompt in prompts]
    for request in requests:
        request.check()
    answer = _Answer(call, asked)
    begin(call, answer.stream(requests[0], prompts[0]) if asked.stream else answer.whole(requests, prompts))


def _prompts(asked: CompletionRequest) -> list[Prompt]:
    given: Any = asked.prompt
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return [given]
    if not given:
        raise InvalidRequest("There is no prompt; send a text.")
    return list(given)


def _request(asked: CompletionRequest, prompt: Prompt) -> GenerateRequest:
    most = USUAL_TOKENS if asked.max_tokens is None else asked.max_tokens
    text = prompt if isinstance(prompt, str) else None
    return GenerateRequest(
        prompt=text,
        token_ids=() if isinstance(prompt, str) else tuple(prompt),
        sampling=asked.sampling(most),
        n=1 if asked.n is None else asked.n,
        logprobs=asked.logprobs,
    )


class _Answer:
    def __init__(self, call: Call, asked: CompletionRequest) -> None:
        self._call = call
        self._asked = asked
        self._head = {
            "id": f"cmpl-{secrets.token_hex(16)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model or call.name,
        }

    async def whole(self, requests: list[GenerateRequest], prompts: list[Prompt]) -> None:
        call = self._call
        listed: list[dict[str, Any]] = []
        before = NOTHING
        for request, prompt in zip(requests, prompts, strict=True):
            choices = await whole(call, request, before)
            if choices is None:
                gone(call)
                return
            cost = call.cost
            before = GenerationUsage(cost.tokens_in, cost.tokens_cached, cost.tokens_out, cost.queue_us, cost.compute_us)
            for choice in choices:
                text = (prompt if self._asked.echo and isinstance(prompt, str) else "") + choice.text
                told = logprobs(choice.chunks) if request.logprobs is not None else None
                listed.append({"index": len(listed), "text": text, "logprobs": told, "finish_reason": finish(choice.finish)})
        call.cost.rows = len(requests)
        used = self._usage(before.tokens_in, before.tokens_cached)
        call.reply(200, JSON, orjson.dumps({**self._head, "choices": listed, "usage": used}))

    async def stream(self, request: GenerateRequest, prompt: Prompt) -> None:
        call = self._call
        last: TokenChunk | None = None
        async for chunk in generate(call, request):
            if last is None:
                call.start(SSE, stream_error)
                if self._asked.echo and isinstance(prompt, str):
                    for index in range(request.n):
                        self._send({"index": index, "text": prompt, "logprobs": None, "finish_reason": None})
            last = chunk
            told = logprobs([chunk]) if request.logprobs is not None else None
            end = finish(chunk.finish) if chunk.finish is not None else None
            if chunk.text or told or end:
                self._send({"index": chunk.choice, "text": chunk.text, "logprobs": told, "finish_reason": end})
            await call.exchange.drain()
        if last is None:
            gone(call)
            return
        if last.last:
            if self._asked.include_usage:
                used = self._usage(last.usage.tokens_in, last.usage.tokens_cached)
                call.send(b"data: " + orjson.dumps({**self._head, "choices": [], "usage": used}) + b"\n\n")
            call.send(b"data: [DONE]\n\n")
        call.finish()

    def _send(self, choice: dict[str, Any]) -> None:
        self._call.send(b"data: " + orjson.dumps({**self._head, "choices": [choice]}) + b"\n\n")

    def _usage(self, tokens_in: int, cached: int) -> dict[str, Any]:
        out = self._call.cost.tokens_out
        return {
            "prompt_tokens": tokens_in,
            "completion_tokens": out,
            "total_tokens": tokens_in + out,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def logprobs(chunks: list[TokenChunk]) -> dict[str, Any]:
    """Log probabilities in the older form: parallel lists."""
    told = [one for chunk in chunks for one in chunk.logprobs]
    offsets, at = [], 0
    for one in told:
        offsets.append(at)
        at += len(one.text)
    return {
        "tokens": [one.text for one in told],
        "token_logprobs": [one.logprob for one in told],
        "top_logprobs": [{other.text: other.logprob for other in one.top} for one in told],
        "text_offset": offsets,
    }


def finish(reason: FinishReason) -> str:
    """As the API says it."""
    return "length" if reason is FinishReason.LENGTH else "stop"
