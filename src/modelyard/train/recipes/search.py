"""What is searched: the part of a recipe that names fields to vary."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from modelyard.train.recipes.part import Part

FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z_][\w]*(\.[\w]+)*$")]


class Range(Part):
    """Numbers between two ends; whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether ratios matter rather than differences, as for learning rates."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("a range with log must begin above 0")
        return self


class SearchPlan(Part):
    """A search over fields of the recipe (Optuna: a tree of Parzen estimators, bad trials given up early).

    Every trial is judged within the training rows; what is held out is seen once, by the winner.
    """

    space: dict[FieldName, Range | Annotated[tuple[Any, ...], Field(min_length=2)]] = Field(min_length=1)
    """Fields by name, like ``learning.optimizer.learning_rate``, each with a range or a list of choices; for tables also ``family``."""
    trials: int = Field(default=20, ge=1, le=10_000)
    """How many recipes are tried."""
    parallel: int = Field(default=0, ge=0, le=256)
    """How many at the same time; 0 means one a core of the job. More than one do not repeat exactly."""
    seconds: float | None = Field(default=None, gt=0)
    """No new trial begins after this time."""
    prune: bool = True
    """Whether a trial that is worse than most were at the same point is given up."""
