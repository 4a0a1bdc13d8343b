"""Protocol buffers as text, without their schema: messages as dicts, repeated fields as lists."""

from __future__ import annotations

import re
from typing import Any

from modelyard.core.errors import InvalidArtifact

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[{}\[\]:,;<>])"""
)
_DEEPEST = 50


def parse(text: str) -> dict[str, Any]:
    """A message.

    Raises InvalidArtifact that names the line.
    """
    tokens: list[tuple[str, str, int]] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        line = text.count("\n", 0, at) + 1
        if found is None:
            raise InvalidArtifact(f"Line {line} of the configuration cannot be read at {text[at : at + 20]!r}.")
        if found.lastgroup:
            tokens.append((found.lastgroup, found[0], line))
        at = found.end()
    message, end = _message(tokens, 0, 0)
    if end != len(tokens):
        raise InvalidArtifact(f"Line {tokens[end][2]} of the configuration closes what was not opened.")
    return message


def _message(tokens: list[tuple[str, str, int]], at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(tokens) and tokens[at][1] not in {"}", ">"}:
        kind, name, line = tokens[at]
        if kind == "mark" and name in {",", ";"}:
            at += 1
            continue
        if kind != "word":
            raise InvalidArtifact(f"Line {line} of the configuration has {name!r} where a name belongs.")
        at += 1
        if at < len(tokens) and tokens[at][1] == ":":
            at += 1
        value, at = _value(tokens, at, depth)
        found[name] = _joined(found[name], value) if name in found else value
    return found, at


def _value(tokens: list[tuple[str, str, int]], at: int, depth: int) -> tuple[Any, int]:
    if at >= len(tokens) or depth > _DEEPEST:
        raise InvalidArtifact("The configuration ends in the middle of a value, or is nested too deeply.")
    kind, text, line = tokens[at]
    if text in {"{", "<"}:
        message, at = _message(tokens, at + 1, depth + 1)
        if at >= len(tokens):
            raise InvalidArtifact(f"What line {line} of the configuration opens is never closed.")
        return message, at + 1
    if text == "[":
        return _sequence(tokens, at + 1, depth + 1)
    if kind == "mark":
        raise InvalidArtifact(f"Line {line} of the configuration has {text!r} where a value belongs.")
    return (text[1:-1] if kind == "text" else _plain(text)), at + 1


def _sequence(tokens: list[tuple[str, str, int]], at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(tokens) and tokens[at][1] != "]":
        if tokens[at][1] == ",":
            at += 1
            continue
        value, at = _value(tokens, at, depth)
        found.append(value)
    if at >= len(tokens):
        raise InvalidArtifact("A list of the configuration is never closed.")
    return found, at + 1


def _plain(word: str) -> Any:
    if word in {"true", "false"}:
        return word == "true"
    try:
        return int(word)
    except ValueError:
        return word


def _joined(before: Any, value: Any) -> list[Any]:
    return [*(before if isinstance(before, list) else [before]), *(value if isinstance(value, list) else [value])]
