"""Requests of the messages API as plain data."""

from __future__ import annotations

from typing import Any

import msgspec


class MessagesRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/messages``; what says nothing to this server is read over."""

    messages: list[dict[str, Any]]
    model: str = ""
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
