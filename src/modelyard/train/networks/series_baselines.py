"""What is to be beaten: forecasts that cost nothing, and a linear map of the same windows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modelyard.datasets.table import Rows
from modelyard.evaluation.forecasts import naive, seasonal_naive
from modelyard.train.networks.series_data import SeriesExamples, SeriesProblem
from modelyard.train.networks.series_scaling import WindowScaling

Numbers = NDArray[np.float64]
_PENALTIES = (1e-2, 1.0, 1e2, 1e4)


def forecasts_to_beat(problem: SeriesProblem, scaling: WindowScaling, starts: Rows) -> dict[str, Numbers]:
    """``[windows, horizon, targets]`` by method."""
    history, horizon = problem.history(starts), problem.recipe.horizon
    found = {"naive": naive(history, horizon)}
    if 1 < problem.season <= problem.recipe.window:
        found["seasonal naive"] = seasonal_naive(history, horizon, problem.season)
    with torch.inference_mode():
        columns = (torch.from_numpy(column) for column in problem.inputs(starts))
        _, _, shift, scale = scaling(*columns)
    flat = linear_map(problem, scaling, starts)
    scaled = flat.reshape(len(starts), horizon, problem.targets)
    found["linear"] = scaled * scale.double().numpy()[:, None] + shift.double().numpy()[:, None]
    return found


def linear_map(problem: SeriesProblem, scaling: WindowScaling, starts: Rows) -> Numbers:
    """Ridge regression from the scaled windows to the scaled targets; its penalty is chosen by the validation windows."""
    windows = problem.windows
    train, train_targets = SeriesExamples(problem, windows.train, scaling).flat()
    check, check_targets = SeriesExamples(problem, windows.validate, scaling).flat()
    whole = ~np.isnan(train_targets).any(axis=1)
    if not whole.any():
        return np.zeros((len(starts), train_targets.shape[1]))
    fits = [_ridge(train[whole], train_targets[whole], penalty) for penalty in _PENALTIES]
    errors = [float(np.nanmean(np.abs(_applied(fit, check) - check_targets))) for fit in fits]
    return _applied(fits[int(np.argmin(errors))], SeriesExamples(problem, starts, scaling).flat()[0])


def _ridge(features: NDArray[np.float32], targets: NDArray[np.float32], penalty: float) -> tuple[Numbers, Numbers]:
    """Weights and what is added; the mean is not penalized."""
    inputs, outputs = features.astype(np.float64), targets.astype(np.float64)
    middle, mean = inputs.mean(axis=0), outputs.mean(axis=0)
    centred = inputs - middle
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(inputs.shape[1]), centred.T @ (outputs - mean))
    return weights, mean - middle @ weights


def _applied(fit: tuple[Numbers, Numbers], features: NDArray[np.float32]) -> Numbers:
    found: Numbers = features.astype(np.float64) @ fit[0] + fit[1]
    return found
