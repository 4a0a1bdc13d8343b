"""The recipe: everything a person decides about a training, from YAML or flags. Its JSON Schema is ``Recipe.model_json_schema()``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.models import NAME
from modelyard.datasets.prepare import PreparationOptions
from modelyard.datasets.read import ReadOptions
from modelyard.datasets.schema import Kind

ClassificationMetric = Literal["accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"]
RegressionMetric = Literal["rmse", "mae", "r2"]
Metric = Literal[ClassificationMetric, RegressionMetric]
ColumnName = Annotated[str, StringConstraints(min_length=1)]


class _Part(BaseModel):
    """What all parts of a recipe share: unknown fields are refused, values are never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Reading(_Part):
    """How the file is read; what is left out is found out."""

    encoding: str = ""
    """For example ``utf-8``, ``utf-16``, ``cp1252`` or ``latin-1``."""
    separator: str = ""
    """One character."""
    decimal: Literal["", ".", ","] = ""
    """The decimal sign."""
    header: bool | None = None
    """Whether the first row names the columns; ``false`` names them column_1, column_2, …"""
    missing: tuple[str, ...] | None = None
    """Cells that mean "no value" besides empty ones, compared without case; replaces the usual list (NA, N/A, null, NaN, None, ?, -)."""


class Features(_Part):
    """Which columns the model may use."""

    include: tuple[ColumnName, ...] | None = None
    """Only these columns; all usable ones by default."""
    exclude: tuple[ColumnName, ...] = ()
    """Not these columns."""


class Preparation(_Part):
    """How columns become numbers; the same steps ship inside the model."""

    fill: Literal["median", "mean", "zero"] = "median"
    """What stands in for a missing number."""
    scaling: Literal["standard", "minmax", "none"] = "standard"
    """How numbers are scaled."""
    max_categories: int = Field(default=50, ge=1, le=1000)
    """Categories of a column that get a place of their own; rarer ones count as unknown."""
    missing_category: Literal["own", "most_frequent"] = "own"
    """Whether a missing category is one of its own or taken for the most frequent."""


class Budget(_Part):
    """What the search may use."""

    seconds: float | None = Field(default=None, gt=0)
    """No new trial begins after this time; a search cut short like this need not repeat exactly."""
    trials: int | None = Field(default=None, ge=1, le=100)
    """Hyper-parameter settings tried per family; by default fewer for larger tables."""
    memory_megabytes: int | None = Field(default=None, ge=64)
    """The training refuses a table whose matrices would need more."""


class Recipe(_Part):
    """One training, reproducible: the same recipe and data give the same metrics and the same model, byte for byte."""

    target: ColumnName
    """The column to predict."""
    data: str = ""
    """A file, or the name of a stored dataset."""
    name: str = ""
    """The model's name; by default made of the data's name."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """By default: text and few whole numbers are classes, other numbers are quantities."""
    features: Features = Features()
    types: dict[ColumnName, Kind] = {}
    """Columns whose meaning is not to be guessed, e.g. ``{zip: category}``."""
    reading: Reading = Reading()
    preparation: Preparation = Preparation()
    test_size: float = Field(default=0.2, ge=0.05, le=0.5)
    """The share of rows held out for the evaluation; training never sees them."""
    folds: int | None = Field(default=None, ge=2, le=20)
    """Folds of the cross-validation; by default 5, and 3 for more than 10,000 rows."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Fixes every random choice."""
    families: tuple[str, ...] | None = None
    """Model families to try, e.g. ``[logistic, forest]``; all that suit by default."""
    metric: Metric | None = None
    """What decides between families; by default f1_macro for classes and rmse for quantities."""
    budget: Budget = Budget()

    @field_validator("name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        if value and not NAME.fullmatch(value):
            raise ValueError("use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit")
        return value

    @field_validator("families")
    @classmethod
    def _some_families(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("name at least one family, or leave the field out")
        return value

    def read_options(self) -> ReadOptions:
        """How to read the file: columns that are said to be text in some sense are not read as numbers."""
        texts = frozenset(name for name, kind in self.types.items() if kind is not Kind.NUMBER)
        reading = self.reading
        return ReadOptions(reading.encoding, reading.separator, reading.decimal, reading.header, reading.missing, texts)

    def preparation_options(self) -> PreparationOptions:
        """The same choices as plain data."""
        chosen = self.preparation
        return PreparationOptions(chosen.fill, chosen.scaling, chosen.max_categories, chosen.missing_category)

    def to_yaml(self) -> str:
        """The recipe as a person would write it: only what differs from the defaults."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)


def parse_recipe(source: str | Mapping[str, Any]) -> Recipe:
    """A recipe from YAML text or from plain data.

    Raises InvalidRequest with one sentence that names the field, what is wrong and, for an unknown field, the nearest known one.
    """
    if isinstance(source, str):
        try:
            source = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise InvalidRequest(f"The recipe is no valid YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(source, Mapping):
        raise InvalidRequest("A recipe must be a mapping of fields, with at least 'target: COLUMN'.")
    try:
        return Recipe.model_validate(dict(source))
    except ValidationError as error:
        raise InvalidRequest(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_beside(first["loc"])
        return f"The recipe has an unknown field {place!r}.{did_you_mean(str(first['loc'][-1]), known)} Known here: {', '.join(known)}."
    if first["type"] == "missing":
        return f"The recipe lacks the field {place!r}; add it."
    return f"The recipe's field {place!r} cannot be {str(first['input'])[:60]!r}: {first['msg'].removeprefix('Value error, ')}."


def _fields_beside(place: tuple[int | str, ...]) -> list[str]:
    """The known fields of the part that a field stands in."""
    part: type[BaseModel] = Recipe
    for step in place[:-1]:
        inner = part.model_fields[str(step)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            part = inner
    return list(part.model_fields)


CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
