"""Rows as the plain data of ``core``."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy.engine import RowMapping

T = TypeVar("T", bound=msgspec.Struct)


def decode(row: RowMapping, kind: type[T]) -> T:
    """The struct whose fields are the row's columns of the same names."""
    # By the struct's own names: SQLAlchemy's keys are of a subclass of str, which msgspec refuses.
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)


def encode(value: msgspec.Struct) -> dict[str, Any]:
    """Column values of a struct, but for its ``id``, which the database gives."""
    return {name: getattr(value, name) for name in value.__struct_fields__ if name != "id"}
