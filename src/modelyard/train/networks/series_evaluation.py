"""How good a network for series is on what was held out, beside what costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.calibration import calibration_bins, calibration_error
from modelyard.evaluation.forecasts import by_step, forecast_metrics, improvement, measured
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import classification_intervals, regression_intervals
from modelyard.evaluation.metrics import classification_metrics, confusion, per_class, regression_metrics
from modelyard.evaluation.slices import mean_slices
from modelyard.train.networks.series_baselines import forecasts_to_beat, linear_map
from modelyard.train.networks.series_data import SeriesExamples, SeriesProblem
from modelyard.train.networks.series_scaling import WindowScaling

_SHOWN = 6
Numbers = NDArray[np.float64]
Evaluated = tuple[dict[str, float], dict[str, Any], tuple[str, ...]]
"""Metrics, details, and the pictures that were drawn."""


def evaluate(problem: SeriesProblem, scaling: WindowScaling, predicted: Numbers, illustrator: Illustrator) -> Evaluated:
    """From the held-out windows, which are used here for the first time; has their pictures drawn."""
    if problem.forecasts:
        return _forecasts(problem, scaling, predicted, illustrator)
    return _classes(problem, scaling, predicted, illustrator) if problem.classes else _quantities(problem, scaling, predicted, illustrator)


def _forecasts(problem: SeriesProblem, scaling: WindowScaling, predicted: Numbers, illustrator: Illustrator) -> Evaluated:
    recipe, starts = problem.recipe, problem.windows.test
    truth = problem.truth(starts)
    found = predicted.reshape(truth.values.shape)
    others = forecasts_to_beat(problem, scaling, starts)
    rows = measured({"network": found, **others}, truth, recipe.seed)
    best = min(rows[1:], key=lambda row: row["mae"])
    gain = improvement(truth, found, others[best["method"]], recipe.seed)
    per_target = {
        name: forecast_metrics(_one(truth, at), found[:, :, at : at + 1]) for at, name in enumerate(problem.columns[: problem.targets])
    }
    steps = {name: by_step(truth, forecast) for name, forecast in {"network": found, **others}.items()}
    _draw(problem, found, others, illustrator)
    illustrator.draw("forecast_errors", "forecast_errors", rows=rows, steps=steps)
    details = {
        "intervals": rows[0]["intervals"],
        "slices": _slices(problem, _errors(truth.values, found), "mae", truth.block),
        "baselines": rows[1:],
        "improvement": {"over": best["method"], **gain, "verdict": _verdict(best["method"], gain)},
        "by_step": steps,
        "targets": per_target,
    }
    return forecast_metrics(truth, found), details, ("forecasts", "forecast_errors")


def _one(truth: Any, at: int) -> Any:
    return type(truth)(truth.values[:, :, at : at + 1], truth.scales[:, at : at + 1], truth.groups, truth.block)


def _verdict(method: str, gain: dict[str, float]) -> str:
    """In words that promise no more than was seen."""
    if gain["low"] > 0:
        return f"better than {method}: the error is {gain['value']:.0%} smaller"
    if gain["high"] < 0:
        return f"worse than {method}: serve {method} instead, or train longer on more rows"
    return f"no better than {method}, as far as the held-out windows can tell"


def _draw(problem: SeriesProblem, found: Numbers, others: dict[str, Numbers], illustrator: Illustrator) -> None:
    """A few held-out windows, spread over all, with what was seen, what came and what was said."""
    starts = problem.windows.test
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(_SHOWN, len(starts))).round().astype(int))
    rival = "seasonal naive" if "seasonal naive" in others else "naive"
    panels = [
        {
            "title": _headline(problem, int(starts[at])),
            "seen": _plain(problem.history(starts[at : at + 1])[0, :, 0]),
            "came": _plain(problem.future(starts[at : at + 1])[0, :, 0]),
            "said": _plain(found[at, :, 0]),
            "rival": _plain(others[rival][at, :, 0]),
        }
        for at in chosen
    ]
    illustrator.draw("forecasts", "forecasts", panels=panels, rival=rival, target=problem.columns[0])


def _headline(problem: SeriesProblem, start: int) -> str:
    whose = problem.series.names[problem.series.group[start]]
    return f"{whose} from {problem.series.times[start + problem.recipe.window]}".strip()


def _plain(values: Numbers) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _classes(problem: SeriesProblem, scaling: WindowScaling, predicted: Numbers, illustrator: Illustrator) -> Evaluated:
    starts, classes = problem.windows.test, problem.classes
    truth, chosen = problem.labels_of(starts).astype(np.intp), predicted.argmax(axis=1)
    counts = confusion(truth, chosen, len(classes))
    bins = calibration_bins(predicted.max(axis=1), truth == chosen)
    error = calibration_error(bins)
    illustrator.draw("confusion", "confusion_matrix", counts=counts, names=classes, title=f"{len(truth):,} held-out windows")
    illustrator.draw("calibration", "calibration", bins=bins, error=error)
    details = {
        "classes": per_class(truth, chosen, classes),
        "confusion_matrix": {"classes": list(classes), "counts": counts.tolist()},
        "intervals": classification_intervals(truth, predicted, problem.recipe.seed),
        "calibration": {"error": error, "bins": bins},
        "slices": _slices(problem, (truth == chosen).astype(np.float64), "accuracy"),
        "baselines": _baseline_classes(problem, scaling, truth),
    }
    return classification_metrics(truth, predicted) | {"calibration_error": error}, details, ("confusion_matrix", "calibration")


def _baseline_classes(problem: SeriesProblem, scaling: WindowScaling, truth: NDArray[np.intp]) -> list[dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression  # loaded when used: forecasts need none of it

    train, labels = SeriesExamples(problem, problem.windows.train, scaling).flat()
    shares = np.bincount(labels.astype(np.intp), minlength=len(problem.classes)) / len(labels)
    linear = LogisticRegression(max_iter=1_000).fit(train, labels)
    found = linear.predict_proba(SeriesExamples(problem, problem.windows.test, scaling).flat()[0])
    methods = {"most frequent class": np.tile(shares, (len(truth), 1)), "logistic regression": found}
    return [{"method": name, **classification_metrics(truth, given, ("accuracy", "f1_macro"))} for name, given in methods.items()]


def _quantities(problem: SeriesProblem, scaling: WindowScaling, predicted: Numbers, illustrator: Illustrator) -> Evaluated:
    starts = problem.windows.test
    truth, found = problem.labels_of(starts).astype(np.float64), predicted[:, 0]
    illustrator.draw("residuals", "residuals", true=truth, estimates=found, target=problem.recipe.target[0])
    mean = np.full(len(truth), problem.labels_of(problem.windows.train).mean())
    methods = {"mean": mean, "linear": linear_map(problem, scaling, starts)[:, 0]}
    details = {
        "intervals": regression_intervals(truth, found, problem.recipe.seed),
        "slices": _slices(problem, np.abs(found - truth), "mae"),
        "baselines": [{"method": name, **regression_metrics(truth, given)} for name, given in methods.items()],
    }
    return regression_metrics(truth, found), details, ("residuals",)


def _errors(truth: Numbers, found: Numbers) -> Numbers:
    """The mean absolute error of each window; NaN where nobody knows any of its future."""
    known = ~np.isnan(truth)
    sums = np.where(known, np.abs(found - np.where(known, truth, 0.0)), 0.0).sum(axis=(1, 2))
    counts = known.sum(axis=(1, 2))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _slices(problem: SeriesProblem, each: Numbers, metric: str, block: int = 1) -> dict[str, Any]:
    """By group, and by what the window shows of its first column."""
    starts, name = problem.windows.test, problem.columns[0]
    seen = problem.values[starts[:, None] + np.arange(problem.recipe.window), 0]
    unknown = np.isnan(seen)
    counts = np.maximum((~unknown).sum(axis=1), 1)
    means = np.where(unknown, 0.0, seen).sum(axis=1) / counts
    spread = np.sqrt(np.where(unknown, 0.0, (seen - means[:, None]) ** 2).sum(axis=1) / counts)
    columns: dict[str, NDArray[Any]] = {f"{name}, last of the window": seen[:, -1], f"{name}, deviation in the window": spread}
    if len(problem.series.names) > 1:
        columns["group"] = np.array(problem.series.names, object)[problem.series.group[starts]]
    return mean_slices(columns, each, metric, higher_is_better=metric == "accuracy", seed=problem.recipe.seed, block=block)
