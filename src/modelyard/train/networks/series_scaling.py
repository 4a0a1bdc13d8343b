"""From the raw columns of a window to what a network takes, and back: the part of a served graph that stands around the network.

One module serves training, the trainer's own predictions and the graph, so that they cannot differ.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Columns = NDArray[np.float32]
_SMALLEST = 0.05
"""Of the usual deviation of a window: a window that is flat is not blown up."""


class WindowScaling(nn.Module):
    """Targets come first, then covariates, then what is known ahead, whose windows are longer by the horizon.

    Missing values become 0 after scaling, and where training had any a mark beside every column says which are there.
    """

    shift: Tensor
    """[targets], [others]: of all training rows."""
    factor: Tensor
    floor: Tensor
    """The least deviation of a target's window."""

    def __init__(self, targets: int, window: int, *, ahead: int, known: int, by_window: bool, marks: bool, columns: int) -> None:
        super().__init__()
        self.targets, self.window, self.ahead, self.known = targets, window, ahead, known
        self.by_window, self.marks = by_window, marks
        self.register_buffer("shift", torch.zeros(columns))
        self.register_buffer("factor", torch.ones(columns))
        self.register_buffer("floor", torch.ones(targets))

    def learn(self, values: NDArray[np.float64], windows: NDArray[np.float64]) -> None:
        """From the training rows ``[rows, columns]``, and the training windows' targets ``[windows, window, targets]``."""
        with np.errstate(invalid="ignore"):
            present = [column[np.isfinite(column)] for column in values.T]
        self.shift.copy_(torch.tensor([column.mean() if len(column) else 0.0 for column in present]))
        self.factor.copy_(torch.tensor([1.0 / (column.std() or 1.0) if len(column) else 1.0 for column in present]))
        usual = []
        for at in range(self.targets):
            known = ~np.isnan(windows[:, :, at])
            count = np.maximum(known.sum(axis=1), 1)
            mean = np.where(known, windows[:, :, at], 0.0).sum(axis=1) / count
            spread = np.sqrt((np.where(known, windows[:, :, at] - mean[:, None], 0.0) ** 2).sum(axis=1) / count)
            typical = float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
            usual.append(max(typical * _SMALLEST, float(np.finfo(np.float32).tiny)))
        if self.targets:
            self.floor.copy_(torch.tensor(usual))

    def forward(self, *columns: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Each column ``[rows, window]`` → steps ``[rows, window, columns]``, what is known ahead, and the targets' shift and scale."""
        raw = torch.stack([column[:, : self.window] for column in columns], dim=2)
        here = ~torch.isnan(raw)
        values = torch.where(here, raw, 0.0)
        shift, scale = self._of_targets(values[:, :, : self.targets], here[:, :, : self.targets])
        others = (values[:, :, self.targets :] - self.shift[self.targets :]) * self.factor[self.targets :]
        scaled = torch.cat([(values[:, :, : self.targets] - shift[:, None]) / scale[:, None], others], dim=2)
        steps = torch.where(here, scaled, 0.0)
        if self.marks:
            steps = torch.cat([steps, here.to(steps.dtype)], dim=2)
        return steps, self._ahead(columns), shift, scale

    def _of_targets(self, values: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        mean, factor = self.shift[: self.targets], self.factor[: self.targets]
        if not self.by_window:
            like = torch.zeros_like(values[:, 0])
            return mean + like, 1.0 / factor + like
        places = torch.arange(self.window)[None, :, None]
        last = torch.where(here, places, -1).amax(dim=1)
        count = here.sum(dim=1).clamp(min=1)
        shift = torch.gather(values, 1, last.clamp(min=0)[:, None, :])[:, 0]
        shift = torch.where(last >= 0, shift, mean)
        middle = values.sum(dim=1) / count
        spread = torch.where(here, values - middle[:, None], 0.0)
        scale = torch.sqrt((spread * spread).sum(dim=1) / count)
        return shift, torch.maximum(scale, self.floor)

    def _ahead(self, columns: tuple[Tensor, ...]) -> Tensor | None:
        if not self.known:
            return None
        first = len(columns) - self.known
        parts = [
            (torch.where(torch.isnan(column), self.shift[first + at], column) - self.shift[first + at]) * self.factor[first + at]
            for at, column in enumerate(column[:, self.window :] for column in columns[first:])
        ]
        return torch.cat(parts, dim=1)


class Forecaster(nn.Module):
    """Raw columns to raw forecasts ``[rows, ahead]``, or ``[rows, ahead, targets]`` where there are several."""

    def __init__(self, scaling: WindowScaling, network: nn.Module) -> None:
        super().__init__()
        self.scaling, self.network = scaling, network

    def forward(self, *columns: Tensor) -> Tensor:
        steps, ahead, shift, scale = self.scaling(*columns)
        found = self.network(steps, ahead).unflatten(1, (self.scaling.ahead, self.scaling.targets))
        found = found * scale[:, None] + shift[:, None]
        forecast: Tensor = found.flatten(1) if self.scaling.targets == 1 else found
        return forecast


class Reader(nn.Module):
    """Raw columns to scores ``[rows, classes]``, or to a quantity ``[rows, 1]`` of this mean and deviation."""

    def __init__(self, scaling: WindowScaling, network: nn.Module, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.scaling, self.network, self.mean, self.deviation = scaling, network, mean, deviation

    def forward(self, *columns: Tensor) -> Tensor:
        steps, ahead, _, _ = self.scaling(*columns)
        found: Tensor = self.network(steps, ahead) * self.deviation + self.mean
        return found
