"""``generate`` and ``generate_stream``, the extension of the Open Inference Protocol for language models."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.protocols.call import Call
from modelyard.protocols.generating import SSE, begin, gone, whole
from modelyard.protocols.generating import generate as generation
from modelyard.protocols.json_tensors import parse_json
from modelyard.protocols.open_inference_rest.errors import JSON, error_reply

_TEXT = "text_input"
_NAMES = {"max_new_tokens": "max_tokens", "stop_words": "stop", "random_seed": "seed"}
"""Other names that clients of this extension give to parameters."""
_OURS = frozenset(Sampling.__struct_fields__)


def generate(call: Call) -> None:
    """``POST …/generate``."""
    begin(call, _whole(call, _request(call)))


def generate_stream(call: Call) -> None:
    """``POST …/generate_stream``: an event for each piece of text."""
    begin(call, _stream(call, _request(call)))


def _request(call: Call) -> GenerateRequest:
    body = parse_json(call.body)
    if not isinstance(body, dict) or not isinstance(body.get(_TEXT), str):
        raise InvalidRequest(f"The body must be an object with the text to go on from in {_TEXT!r}.")
    inner = body.get("parameters") or {}
    if not isinstance(inner, dict):
        raise InvalidRequest("'parameters' must be an object.")
    given = {name: value for name, value in body.items() if name not in {"id", "parameters", "stream", "model", _TEXT}} | inner
    fields: dict[str, Any] = {}
    for name, value in given.items():
        ours = _NAMES.get(name, name)
        if ours not in _OURS:
            raise InvalidRequest(f"There is no parameter {name[:64]!r}; known: {', '.join(sorted(_OURS | set(_NAMES)))}.")
        fields[ours] = [value] if ours == "stop" and isinstance(value, str) else value
    try:
        sampling = msgspec.convert(fields, Sampling)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"A parameter cannot be used: {error}.") from None
    if sampling.max_tokens == 0:
        raise InvalidRequest("max_tokens is 0; ask for at least one token.")
    request = GenerateRequest(prompt=body[_TEXT], sampling=sampling)
    request.check()
    return request


def _document(call: Call, text: str) -> bytes:
    view = call.plane.served(call.grant.workspace_id, call.name, f"={call.cost.version_id}")
    return orjson.dumps({"model_name": call.name, "model_version": str(view.number), "text_output": text})


async def _whole(call: Call, request: GenerateRequest) -> None:
    choices = await whole(call, request)
    if choices is None:
        gone(call)
    else:
        call.reply(200, JSON, _document(call, choices[0].text))


async def _stream(call: Call, request: GenerateRequest) -> None:
    began = False
    async for chunk in generation(call, request):
        if not began:
            began = True
            call.start(SSE, _failed)
        if chunk.text or chunk.last:
            call.send(b"data: " + _document(call, chunk.text) + b"\n\n")
        await call.exchange.drain()
    if began:
        call.finish()
    else:
        gone(call)


def _failed(error: ModelyardError) -> bytes:
    _, _, body = error_reply(error)
    return b"data: " + (body if isinstance(body, bytes) else b"".join(body)) + b"\n\n"
