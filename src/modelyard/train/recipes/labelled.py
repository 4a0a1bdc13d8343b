"""What recipes for labelled texts share, whatever learns them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.datasets.read import ReadOptions
from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.part import Recipe
from modelyard.train.recipes.table import ClassificationMetric, ColumnName, Reading


class LabelledTexts(Recipe):
    """A table with a column of texts and one of labels."""

    text: ColumnName = "text"
    """The column of texts."""
    target: ColumnName
    """The column of labels."""
    on_empty: Literal["refuse", "skip"] = "refuse"
    """Whether rows without a text end the job, or are left out and counted."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced`` makes rare classes count as much as frequent ones; or a weight for each class."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each label that is spread over all classes."""
    reading: Reading = Reading()
    learning: Learning = Learning()
    metric: ClassificationMetric = "f1_macro"
    """What children of the version are judged by."""

    @model_validator(mode="after")
    def _two_columns(self) -> LabelledTexts:
        if self.text == self.target:
            raise ValueError(f"the column {self.text!r} cannot be both text and target; name the column of labels")
        return self

    def read_options(self) -> ReadOptions:
        """How to read the file: both columns are words, and only an empty cell is missing unless the recipe says otherwise."""
        reading = self.reading
        missing = () if reading.missing is None else reading.missing
        return ReadOptions(
            reading.encoding, reading.separator, reading.decimal, reading.header, missing, frozenset({self.text, self.target})
        )
