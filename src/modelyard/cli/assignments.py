"""``FIELD=VALUE`` on the command line, where a field may stand within others and a value is written as in YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from modelyard.core.errors import InvalidRequest


def read_settings(written: Sequence[str]) -> dict[str, Any]:
    """``learning.epochs=5`` gives ``{"learning": {"epochs": 5}}``; several are laid together.

    Raises InvalidRequest.
    """
    found: dict[str, Any] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or not all(name.split(".")):
            raise InvalidRequest(f"{text!r} sets nothing; write FIELD=VALUE, like learning.epochs=5.")
        *parents, last = name.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InvalidRequest(f"{text!r} sets a part of a field that was set as a whole before.")
        place[last] = _value(value, text)
    return found


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both together; what stands above wins."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _value(written: str, text: str) -> Any:
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError:
        raise InvalidRequest(f"The value of {text!r} is no valid YAML; quote it.") from None
