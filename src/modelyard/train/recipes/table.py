"""The recipe of a training on a table."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, field_validator

from modelyard.datasets.prepare import PreparationOptions
from modelyard.datasets.read import ReadOptions
from modelyard.datasets.schema import Kind
from modelyard.train.recipes.part import Part, Recipe
from modelyard.train.recipes.search import SearchPlan

ClassificationMetric = Literal["accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"]
RegressionMetric = Literal["rmse", "mae", "r2"]
Metric = Literal[ClassificationMetric, RegressionMetric]
Selector = Literal["none", "mutual_information", "information_gain", "chi2", "recursive", "permutation", "qubo", "quantum", "compare"]
ColumnName = Annotated[str, StringConstraints(min_length=1)]


class Reading(Part):
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


class Features(Part):
    """Which columns the model may use."""

    include: tuple[ColumnName, ...] | None = None
    """Only these columns; all usable ones by default."""
    exclude: tuple[ColumnName, ...] = ()
    """Not these columns."""
    select: Selector = "none"
    """How the best of them are chosen, from training rows only; ``compare`` tries all methods and takes the one whose columns do best.

    ``quantum`` is ``qubo`` on an annealer of D-Wave, as its configuration on this machine says.
    """
    keep: int | float = Field(default=0.5, gt=0)
    """How many columns are chosen; below 1 a share of them."""
    redundancy: float = Field(default=0.5, ge=0, le=10)
    """How much ``qubo`` minds that two columns tell the same."""


class Preparation(Part):
    """How columns become numbers; the same steps ship inside the model."""

    fill: Literal["median", "mean", "zero"] = "median"
    """What stands in for a missing number."""
    scaling: Literal["standard", "minmax", "none"] = "standard"
    """How numbers are scaled."""
    max_categories: int = Field(default=50, ge=1, le=1000)
    """Categories of a column that get a place of their own; rarer ones count as unknown."""
    missing_category: Literal["own", "most_frequent"] = "own"
    """Whether a missing category is one of its own or taken for the most frequent."""


class Budget(Part):
    """What the search may use."""

    seconds: float | None = Field(default=None, gt=0)
    """No new trial begins after this time; a search cut short like this need not repeat exactly."""
    trials: int | None = Field(default=None, ge=1, le=100)
    """Hyper-parameter settings tried per family; by default fewer for larger tables."""
    memory_megabytes: int | None = Field(default=None, ge=64)
    """The training refuses a table whose matrices would need more."""


class TableRecipe(Recipe):
    """One training on a table: the same recipe and data give the same metrics and the same model, byte for byte."""

    kind: Literal["table"] = "table"
    """A CSV or Parquet file."""
    target: ColumnName
    """The column to predict."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """By default: text and few whole numbers are classes, other numbers are quantities."""
    features: Features = Features()
    types: dict[ColumnName, Kind] = Field(default={})
    """Columns whose meaning is not to be guessed, e.g. ``{zip: category}``."""
    reading: Reading = Reading()
    preparation: Preparation = Preparation()
    folds: int | None = Field(default=None, ge=2, le=20)
    """Folds of the cross-validation; by default 5, and 3 for more than 10,000 rows."""
    families: tuple[str, ...] | None = None
    """Model families to try, e.g. ``[logistic, forest]``; all that suit by default."""
    settings: dict[str, dict[str, Any]] = Field(default={})
    """Hyper-parameters by family that are not to be searched, e.g. ``{network: {hidden: [64], loss: huber}, forest: {max_depth: 8}}``."""
    search: SearchPlan | None = None
    """Fields of this recipe to search over."""
    metric: Metric | None = None
    """What decides between families; by default f1_macro for classes and rmse for quantities."""
    budget: Budget = Budget()

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


CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
