"""Functions that a model may call: what it is told of them, what it is held to, and how its answer is read."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import Grammar, GrammarKind
from modelyard.core.unreadable import UNREADABLE

_TAG, _LISTED = "<tool_call>", "[TOOL_CALLS]"
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_BEGINNINGS = (_TAG, _LISTED, "{", "[{")
"""How an answer that calls functions begins, in the forms that open models were trained on. The first may also stand behind text."""
Tool = Mapping[str, Any]


class Tools:
    """The functions of one request. Raises InvalidRequest for a request that contradicts itself."""

    def __init__(self, tools: Sequence[Tool] | None, choice: str | Mapping[str, Any] | None) -> None:
        self.all = tuple([_function(tool) for tool in tools or ()])
        if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
            choice = self._allow(choice)
        names = [tool["function"]["name"] for tool in self.all]
        self.forced: tuple[str, ...] = ()
        """One of these must be called."""
        if isinstance(choice, Mapping):
            inner = choice.get("function")
            name = inner.get("name") if isinstance(inner, Mapping) else choice.get("name")
            if name not in names:
                raise InvalidRequest(f"tool_choice names the function {name!r}, which is not among the tools.")
            self.forced = (str(name),)
        elif choice in {"required", "any"}:
            if not names:
                raise InvalidRequest("tool_choice wants a function called, but there are no tools.")
            self.forced = tuple(names)
        elif choice not in {None, "auto", "none"}:
            raise InvalidRequest(f"There is no tool_choice {choice!r}; use auto, none, required or a function.")
        self.offered: tuple[dict[str, Any], ...] = () if choice == "none" else self.all

    def _allow(self, choice: Mapping[str, Any]) -> str:
        """Leaves the tools that may be called now; whether one must be. The responses API writes the choice flat."""
        inner = choice.get("allowed_tools", choice)
        listed = inner.get("tools") if isinstance(inner, Mapping) else None
        if not isinstance(listed, list) or not all(isinstance(tool, Mapping) for tool in listed):
            raise InvalidRequest("A tool_choice of type allowed_tools needs a list of tools.")
        allowed = {_function(tool)["function"]["name"] for tool in listed}
        if unknown := allowed.difference(tool["function"]["name"] for tool in self.all):
            raise InvalidRequest(f"tool_choice names the function {min(unknown)!r}, which is not among the tools.")
        self.all = tuple([tool for tool in self.all if tool["function"]["name"] in allowed])
        return str(inner.get("mode", "auto"))

    def grammar(self) -> Grammar | None:
        """What an answer that must call a function looks like: one JSON object with its name and arguments."""
        if not self.forced:
            return None
        forms = []
        for tool in self.all:
            function = tool["function"]
            if function["name"] in self.forced:
                forms.append(
                    {
                        "type": "object",
                        "properties": {
                            "name": {"const": function["name"]},
                            "arguments": function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False},
                        },
                        "required": ["name", "arguments"],
                        "additionalProperties": False,
                    }
                )
        return Grammar(GrammarKind.JSON_SCHEMA, msgspec.json.encode(forms[0] if len(forms) == 1 else {"anyOf": forms}).decode())

    def clear(self, text: str) -> int:
        """How many characters of an answer that begins with ``text`` may be shown before it is whole: what follows may be a call."""
        if not self.offered:
            return len(text)
        start = text.lstrip()
        if self.forced or any(start.startswith(mark) or mark.startswith(start) for mark in _BEGINNINGS):
            return 0
        at = text.find(_TAG)
        if at >= 0:
            return at
        return len(text) - next((size for size in range(len(_TAG) - 1, 0, -1) if text.endswith(_TAG[:size])), 0)

    def read(self, text: str) -> Said:
        """What a whole answer says, and what it calls."""
        if not self.offered:
            return Said(text)
        names = {tool["function"]["name"] for tool in self.offered}
        tagged = _TAGGED.findall(text)
        calls: list[dict[str, Any]] = []
        for piece in tagged or [text.strip().removeprefix(_LISTED).strip()]:
            try:
                value = msgspec.json.decode(piece)
            except UNREADABLE:
                return Said(text)
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict) or one.get("name") not in names:
                    return Said(text)
                calls.append(_call(one["name"], one.get("arguments", one.get("parameters", {}))))
        return Said(text[: text.find(_TAG)] if tagged else "", tuple(calls))


class Said(NamedTuple):
    """An answer, taken apart."""

    text: str
    """All of it where nothing is called; else what comes before the first call."""
    calls: tuple[dict[str, Any], ...] = ()


def _function(tool: Tool) -> dict[str, Any]:
    """A tool in the form that chat templates know; the responses API writes it flat."""
    function = tool.get("function") if isinstance(tool.get("function"), Mapping) else tool
    if tool.get("type", "function") != "function" or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest("A tool must be of type function and have a name.")
    kept = {key: function[key] for key in ("name", "description", "parameters") if function.get(key) is not None}
    if not isinstance(kept.get("parameters", {}), Mapping):
        raise InvalidRequest(f"The parameters of function {kept['name']!r} must be a JSON schema.")
    return {"type": "function", "function": kept}


def _call(name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {"name": name, "arguments": text}}
