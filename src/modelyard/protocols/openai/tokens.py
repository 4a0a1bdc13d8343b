"""``/tokenize`` and ``/detokenize``: what a model reads of a text, and what its tokens say."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.protocols.call import Call
from modelyard.protocols.generating import begin, gone, whole
from modelyard.protocols.openai.errors import JSON
from modelyard.protocols.openai.schemas import plain_messages, read
from modelyard.protocols.text_embeddings import tokens as texts

NOTHING = Sampling(max_tokens=0)


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """``POST /tokenize``: of a text, or of messages as the chat template writes them."""

    model: str = ""
    inputs: Any = None
    """Said in place of the prompt where it is text-embeddings-inference that is called."""
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """``POST /detokenize``."""

    tokens: list[int]
    model: str = ""


def tokenize(call: Call) -> None:
    """``POST /tokenize``."""
    asked = read(call, TokenizeRequest)
    if asked.inputs is not None:
        texts.tokenize(call)
        return
    if (asked.prompt is None) == (not asked.messages):
        raise InvalidRequest("Send a prompt or messages, and not both.")
    request = GenerateRequest(
        prompt=asked.prompt,
        messages=plain_messages(asked.messages or []),
        special_tokens=asked.add_special_tokens,
        sampling=NOTHING,
    )
    begin(call, _tell(call, request, text=False))


def detokenize(call: Call) -> None:
    """``POST /detokenize``."""
    asked = read(call, DetokenizeRequest)
    if not asked.tokens:
        raise InvalidRequest("There are no tokens; send at least one.")
    begin(call, _tell(call, GenerateRequest(token_ids=tuple(asked.tokens), sampling=NOTHING), text=True))


async def _tell(call: Call, request: GenerateRequest, *, text: bool) -> None:
    choices = await whole(call, request)
    if choices is None:
        gone(call)
        return
    tokens = [token for chunk in choices[0].chunks for token in chunk.token_ids]
    body = {"prompt": choices[0].text} if text else {"count": len(tokens), "tokens": tokens}
    call.reply(200, JSON, orjson.dumps(body))
