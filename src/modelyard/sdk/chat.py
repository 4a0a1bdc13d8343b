"""A streamed answer of a language model, as a client reads it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from modelyard.core.errors import Internal, error_codes


class ChatPiece(NamedTuple):
    """Part of an answer. ``finish`` and ``usage`` are set on the last one."""

    text: str
    finish: str = ""
    usage: dict[str, Any] | None = None


class ChatReader:
    """Reads the bytes of an event stream."""

    def __init__(self) -> None:
        self._rest = b""
        self._finish = ""
        self._usage: dict[str, Any] | None = None
        self._whole = False

    def feed(self, piece: bytes) -> ChatPiece | None:
        """What has come with a piece; None where that is no text.

        Raises the error that the stream ends with.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = [self._said(line.removeprefix(b"data:").strip()) for line in lines if line.startswith(b"data:")]
        text = "".join(found)
        return ChatPiece(text) if text else None

    def last(self) -> ChatPiece:
        """How the answer ended.

        Raises Internal when it was cut off.
        """
        if not self._whole:
            raise Internal("The answer was cut off; ask again.")
        return ChatPiece("", self._finish, self._usage or {})

    def _said(self, data: bytes) -> str:
        if data == b"[DONE]":
            self._whole = True
            return ""
        event = msgspec.json.decode(data, type=dict[str, Any])
        if isinstance(event.get("error"), dict):
            error = event["error"]
            raise error_codes().get(str(error.get("code")), Internal)(str(error.get("message", "The answer failed.")))
        self._usage = event.get("usage") or self._usage
        text = ""
        for choice in event.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            text += (choice.get("delta") or {}).get("content") or ""
        return text
