"""The recipe of a time series: forecasts, or what a stretch of time is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from modelyard.datasets.read import ReadOptions
from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.part import Part, Recipe
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.recipes.table import ColumnName, Reading

SeriesTask = Literal["forecast", "classification", "regression"]
SeriesMetric = Literal["mae", "rmse", "mase", "r2", "accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"]
_METRICS: dict[str, tuple[str, ...]] = {
    "forecast": ("mae", "rmse", "mase"),
    "regression": ("mae", "rmse", "r2"),
    "classification": ("accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"),
}


class SeriesNetwork(Part):
    """Which network, and how large."""

    kind: Literal["linear", "rnn", "lstm", "gru", "transformer"] = "gru"
    """One linear map of the window; recurrent layers, of which the last step counts; or a Transformer encoder."""
    width: int = Field(default=32, ge=1, le=4096)
    """Units of a recurrent layer, or of every position of the encoder."""
    depth: int = Field(default=1, ge=1, le=24)
    """Layers."""
    bidirectional: bool = False
    """Whether recurrent layers read the window from both ends."""
    heads: int = Field(default=4, ge=1, le=64)
    """Heads of attention; ``width`` is a multiple of it."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """The share of values that each step leaves out between layers and before the last one."""
    linear_path: bool = True
    """Whether a linear map of the window is added to what the network says, so that it learns what a line cannot."""

    @model_validator(mode="after")
    def _divisible(self) -> SeriesNetwork:
        if self.kind == "transformer" and self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        return self


class SeriesRecipe(Recipe):
    """Rows in time: windows of them are what a network sees.

    ``forecast`` gives the targets of the ``horizon`` rows that follow a window. ``classification`` and ``regression`` give the target of a
    window's last row, which the network sees nothing of. What a model is judged by lies after all that it learned from, or in other groups.
    """

    kind: Literal["series"]
    """A CSV or Parquet file with a row for each point in time."""
    task: SeriesTask = "forecast"
    """What is made of a window."""
    target: Annotated[tuple[ColumnName, ...], Field(min_length=1)]
    """The column, or for ``forecast`` the columns, to predict."""
    time: str = ""
    """The column of dates or numbers that orders the rows; by default the file's order counts."""
    time_format: str = ""
    """How dates are written, such as ``%d/%m/%Y``, where they are not in ISO 8601."""
    groups: tuple[ColumnName, ...] = ()
    """Columns that tell series apart; no window spans two."""
    covariates: tuple[ColumnName, ...] = ()
    """Other columns of numbers to look at, of which the future is unknown."""
    known: tuple[ColumnName, ...] = ()
    """Columns of numbers that are known for the horizon too, such as holidays or prices."""
    window: int = Field(default=24, ge=1, le=4096)
    """Rows that the network sees."""
    horizon: int = Field(default=1, ge=1, le=1024)
    """Rows that ``forecast`` looks ahead."""
    stride: int | None = Field(default=None, ge=1)
    """Rows from one window's beginning to the next one's; by default 1, and ``window`` where windows are labelled."""
    season: int | None = Field(default=None, ge=1, le=10_000)
    """Rows after which a season repeats: what ``seasonal naive`` and MASE look back; by default of the usual step (12 for months)."""
    split: Literal["time", "groups"] = "time"
    """Whether the latest time is held out, or whole groups."""
    embargo: int | None = Field(default=None, ge=0)
    """Rows left out between what is learned from and what is judged; by default the horizon."""
    scaling: Literal["window", "global"] = "window"
    """``window`` shifts targets by the window's last value and divides by its deviation; ``global`` uses those of all training rows."""
    network: SeriesNetwork = SeriesNetwork()
    loss: Literal["mse", "mae", "huber"] = "huber"
    """Of scaled quantities; classes have cross-entropy."""
    delta: float = Field(default=1.0, gt=0)
    """From which scaled error on ``huber`` grows linearly."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced`` makes rare classes count as much as frequent ones."""
    reading: Reading = Reading()
    learning: Learning = Learning(epochs=40)
    search: SearchPlan | None = None
    """Fields of this recipe to search over."""
    metric: SeriesMetric | None = None
    """What children of the version are judged by; by default mae, or f1_macro for classes."""

    @field_validator("target", "groups", "covariates", "known", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("time_format")
    @classmethod
    def _a_format(cls, value: str) -> str:
        if value and "%" not in value:
            raise ValueError("write it like %d/%m/%Y")
        if value:
            datetime(2001, 2, 3, 4, 5).strftime(value)  # noqa: DTZ001 - any date will do
        return value

    @model_validator(mode="after")
    def _sensible(self) -> SeriesRecipe:
        named = [*self.target, *self.covariates, *self.known, *self.groups, *((self.time,) if self.time else ())]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"the column {twice[0]!r} has two roles; give it one")
        if self.task != "forecast":
            if len(self.target) > 1:
                raise ValueError("windows are labelled with one target")
            if self.known:
                raise ValueError("known columns are for forecasts; list them under covariates")
            if not self.covariates:
                raise ValueError("labelled windows need covariates to look at")
        if self.split == "groups" and not self.groups:
            raise ValueError("split is groups, and no column under groups tells them apart")
        if self.metric is not None and self.metric not in _METRICS[self.task]:
            raise ValueError(f"the metric {self.metric} does not measure {self.task}; use one of {', '.join(_METRICS[self.task])}")
        return self

    @property
    def ahead(self) -> int:
        """Rows after the window that belong to an example."""
        return self.horizon if self.task == "forecast" else 0

    @property
    def gap(self) -> int:
        """Rows between what is learned from and what is judged. A labelled window is judged whole, so it needs none."""
        return self.ahead if self.embargo is None else self.embargo

    @property
    def step(self) -> int:
        """Rows between the beginnings of windows."""
        return self.stride or (1 if self.task == "forecast" else self.window)

    @property
    def deciding(self) -> str:
        """The metric that children are judged by."""
        return self.metric or ("f1_macro" if self.task == "classification" else "mae")

    def read_options(self) -> ReadOptions:
        """How to read the file: what tells series apart, and classes, are words."""
        reading = self.reading
        texts = frozenset({*self.groups, *(self.target if self.task == "classification" else ())})
        return ReadOptions(reading.encoding, reading.separator, reading.decimal, reading.header, reading.missing, texts)
