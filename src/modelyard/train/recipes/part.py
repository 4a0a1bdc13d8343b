"""What all recipes and their parts share."""

from __future__ import annotations

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from modelyard.core.models import NAME


class Part(BaseModel):
    """Unknown fields are refused, values are never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Recipe(Part):
    """One training, reproducible on one machine: the same recipe and data give the same metrics and the same model."""

    kind: str
    """What the data is."""
    data: str = ""
    """A file or folder, or the name of a stored data set."""
    name: str = ""
    """The model's name; by default made of the data's name."""
    test_size: float = Field(default=0.2, ge=0.05, le=0.5)
    """The share held out for the evaluation; training never sees it."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Fixes every random choice."""

    @field_validator("name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        if value and not NAME.fullmatch(value):
            raise ValueError("use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit")
        return value

    def to_yaml(self) -> str:
        """The recipe as a person would write it: only what differs from the defaults."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
