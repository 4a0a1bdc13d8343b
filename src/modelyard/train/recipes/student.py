"""The recipe of a student: a network that learns from another model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from modelyard.core.errors import InvalidRequest
from modelyard.train.recipes.learning import Learning, Optimizer
from modelyard.train.recipes.networks import Units
from modelyard.train.recipes.part import Part


class Student(Part):
    """Fully connected layers, and how much the teacher counts."""

    hidden: tuple[Units, ...] = (64, 64)
    """Units of each hidden layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of values that each step leaves out after a hidden layer; a teacher's answers are smooth enough to do without."""
    temperature: float = Field(default=2.0, ge=1, le=100)
    """How soft the teacher's probabilities are made: above 1, what it holds for less likely counts more."""
    mixing: float = Field(default=0.7, ge=0, le=1)
    """How much the teacher counts; the rest is what right answers count, where they are known."""
    learning: Learning = Learning(epochs=60, batch_size=64, optimizer=Optimizer(learning_rate=0.003))


def read_student(source: Mapping[str, Any]) -> Student:
    """Raises InvalidRequest with one sentence that names the field."""
    try:
        return Student.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"The field {place!r} of the student's recipe cannot be used: {first['msg']}.") from None
