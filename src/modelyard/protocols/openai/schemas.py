"""Requests of the OpenAI API as plain data. Fields that say nothing to this server are read over, as that API's own servers do."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.generation import Grammar, GrammarKind, Sampling
from modelyard.core.unreadable import UNREADABLE
from modelyard.protocols.call import Call

Text = str | list[Any]
T = TypeVar("T")


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Sampled(msgspec.Struct, kw_only=True):
    """What chat completions and completions share."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[int, float] | None = None

    def sampling(self, most: int | None) -> Sampling:
        """How tokens are chosen, ``most`` of them; raises InvalidRequest for none."""
        some(most, "max_tokens")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            max_tokens=most,
            min_tokens=self.min_tokens or 0,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty,
            stop=tuple(stops),
            ignore_end=bool(self.ignore_eos),
            seed=self.seed,
            logit_bias=self.logit_bias or {},
        )

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Sampled, kw_only=True):
    """``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(Sampled, kw_only=True):
    """``POST /v1/completions``."""

    prompt: str | list[str | int | list[int]] = ""
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/embeddings``."""

    input: str | list[str | int | list[int]]
    model: str = ""
    encoding_format: str | None = None
    dimensions: int | None = None


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/responses``."""

    input: str | list[dict[str, Any]]
    model: str = ""
    instructions: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    parallel_tool_calls: bool | None = None


def read(call: Call, kind: type[T]) -> T:
    """The body as a request; raises InvalidRequest that names the field."""
    try:
        return msgspec.json.decode(call.body, type=kind)
    except UNREADABLE as error:
        raise InvalidRequest(f"The request cannot be read: {error}.") from None


def some(most: int | None, name: str) -> int | None:
    """How many tokens an answer may have. Raises InvalidRequest for none: a generation of none gives its prompt."""
    if most == 0:
        raise InvalidRequest(f"{name} is 0; ask for at least one token. To count tokens use /tokenize.")
    return most


def grammar_of(form: dict[str, Any] | None) -> Grammar | None:
    """The grammar that a ``response_format`` (or ``text.format``) asks for; raises InvalidRequest."""
    kind = (form or {}).get("type", "text")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return Grammar(GrammarKind.JSON)
    if kind == "json_schema":
        inner = form.get("json_schema", form)
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if not isinstance(schema, dict):
            raise InvalidRequest("A response format of type json_schema needs a 'schema'.")
        return Grammar(GrammarKind.JSON_SCHEMA, msgspec.json.encode(schema).decode())
    if kind in {"regex", "grammar"} and isinstance(form.get("value"), str):
        return Grammar(GrammarKind.REGEX if kind == "regex" else GrammarKind.LARK, form["value"])
    raise InvalidRequest(f"There is no response format {kind!r}; use text, json_object or json_schema.")


def plain_messages(messages: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Messages as chat templates want them: content as one text, arguments of tool calls as objects. Raises InvalidRequest."""
    return tuple([_plain(message, number) for number, message in enumerate(messages)])


def _plain(message: dict[str, Any], number: int) -> dict[str, Any]:
    if not isinstance(message.get("role"), str):
        raise InvalidRequest(f"Message {number} has no role; say system, user, assistant or tool.")
    found = {**message, "content": text_of(message.get("content"), number)}
    if found["role"] == "developer":
        found["role"] = "system"
    calls = message.get("tool_calls")
    if calls:
        found["tool_calls"] = [_plain_call(one, number) for one in calls]
    return found


def text_of(content: Any, number: int) -> str:
    """The text of a message's content, which may come in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
        raise Unsupported(f"Message {number} has content that is not text; this deployment reads text only.")
    raise InvalidRequest(f"The content of message {number} must be text or a list of parts.")


def _plain_call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"A tool call of message {number} names no function.")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}")
        except UNREADABLE:
            raise InvalidRequest(f"The arguments of a tool call of message {number} are not JSON.") from None
    return {**call, "function": {**function, "arguments": arguments}}
