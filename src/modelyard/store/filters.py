"""Conditions over JSON columns: tags and metrics."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement

from modelyard.core.errors import InvalidRequest
from modelyard.store.tables import versions

_COMPARE: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_FIELD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/ -]{0,99}")
_METRIC = re.compile(r"\s*([A-Za-z0-9_.@/ -]+?)\s*(>=|<=|!=|==|>|<|=)\s*([-+]?[0-9.][0-9.eE+-]*)\s*")


def check_field(name: str, kind: str) -> str:
    """``name`` itself when it may name a tag or a metric.

    Raises InvalidRequest that states the rule.
    """
    if not _FIELD.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot name a {kind}: use up to 100 letters, digits, spaces and the characters '_.@/-'.")
    return name


class MetricFilter(msgspec.Struct, frozen=True):
    """A comparison such as ``accuracy>0.9``; a version without the metric never satisfies it."""

    name: str
    operator: str
    value: float

    @classmethod
    def parse(cls, text: str) -> MetricFilter:
        """Reads ``name OPERATOR number`` with one of ``> >= < <= = !=``.

        Raises InvalidRequest.
        """
        match = _METRIC.fullmatch(text)
        if match is None:
            raise InvalidRequest(f"{text!r} is no comparison of a metric; write it like accuracy>0.9 or rmse<=3.")
        name, sign, number = match.groups()
        try:
            value = float(number)
        except ValueError:
            raise InvalidRequest(f"{number!r} in {text!r} is no number.") from None
        return cls(check_field(name, "metric"), "=" if sign == "==" else sign, value)

    def clause(self) -> ColumnElement[bool]:
        """The condition on a row of ``versions``."""
        found: ColumnElement[bool] = _COMPARE[self.operator](versions.c.metrics[self.name].as_float(), self.value)
        return found


def has_tag(column: Column[Any], name: str, value: str) -> ColumnElement[bool]:
    """Whether a JSON column of tags says ``name=value``."""
    found: ColumnElement[bool] = column[check_field(name, "tag")].as_string() == value
    return found
