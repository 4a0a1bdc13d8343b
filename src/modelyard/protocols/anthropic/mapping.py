"""From the messages API's blocks to the messages that chat templates know."""

from __future__ import annotations

from typing import Any

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.protocols.anthropic.schemas import MessagesRequest
from modelyard.protocols.openai.schemas import text_of
from modelyard.protocols.openai.tools import Tools


def tools_of(asked: MessagesRequest) -> Tools:
    """The functions of a request; raises InvalidRequest."""
    listed = [
        {
            "type": "function",
            "function": {"name": one.get("name"), "description": one.get("description"), "parameters": one.get("input_schema")},
        }
        for one in asked.tools or ()
    ]
    choice: str | dict[str, Any] | None = None
    if asked.tool_choice is not None:
        kind = asked.tool_choice.get("type")
        choice = {"name": asked.tool_choice.get("name")} if kind == "tool" else str(kind)
    return Tools(listed, choice)


def messages_of(asked: MessagesRequest) -> tuple[dict[str, Any], ...]:
    """The conversation; raises InvalidRequest, or Unsupported for content that is not text."""
    if not asked.messages:
        raise InvalidRequest("There are no messages; send at least one.")
    found: list[dict[str, Any]] = []
    if asked.system:
        found.append({"role": "system", "content": text_of(asked.system, 0)})
    for number, message in enumerate(asked.messages):
        role, content = message.get("role"), message.get("content")
        if role not in {"user", "assistant"}:
            raise InvalidRequest(f"Message {number} has the role {role!r}; use user or assistant.")
        if isinstance(content, list):
            found += _blocks(role, content, number)
        else:
            found.append({"role": role, "content": text_of(content, number)})
    return tuple(found)


def _blocks(role: str, blocks: list[Any], number: int) -> list[dict[str, Any]]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": block.get("input") or {}}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text_of(block.get("content"), number)})
        elif kind not in {"thinking", "redacted_thinking"}:
            raise Unsupported(f"Message {number} has a block of type {kind!r}; this deployment reads text and tools only.")
    message: dict[str, Any] = {"role": role, "content": "".join(texts)}
    if calls:
        message["tool_calls"] = calls
    return [*results, message] if texts or calls or not results else results
