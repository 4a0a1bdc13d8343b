"""Pictures of a search: what became of its trials, where the good ones lie, and which fields made the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from modelyard.evaluation.canvas import BAR, BEST, QUIET, Picture, open_frame, render, short

Rows = Sequence[Mapping[str, Any]]


def search_curves_picture(trials: Rows, objective: str, *, higher_is_better: bool = False) -> Picture:
    """The course of every trial, where it has one, and the best value after each."""
    courses = any(row["steps"] for row in trials)
    so_far = np.maximum if higher_is_better else np.minimum

    def draw(figure: Figure) -> None:
        *panels, right = figure.subplots(1, 2 if courses else 1, squeeze=False)[0]
        best = _best(trials, higher_is_better=higher_is_better)
        for left in panels:
            for row in trials:
                colour = BEST if row is best else BAR if row["value"] is not None else QUIET
                if row["steps"]:
                    faint = 1.0 if row is best else 0.45
                    left.plot(range(1, len(row["steps"]) + 1), row["steps"], color=colour, alpha=faint, linewidth=1.0)
            left.set_xlabel("epoch")
            left.set_ylabel(objective)
            left.set_title("Trials (grey: given up)")
        complete = [row for row in trials if row["value"] is not None]
        right.scatter([row["trial"] for row in complete], [row["value"] for row in complete], s=16, color=BAR)
        right.step([row["trial"] for row in complete], so_far.accumulate([row["value"] for row in complete]), where="post", color=BEST)
        right.set_xlabel("trial")
        right.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        right.set_ylabel(f"{objective}, {'larger' if higher_is_better else 'smaller'} is better")
        open_frame(*panels, right)

    return render(draw, (9.0 if courses else 6.4, 3.8))


def search_coordinates_picture(trials: Rows, objective: str, *, higher_is_better: bool = False) -> Picture:
    """Every complete trial as a line over the fields; the best stands out."""
    complete = [row for row in trials if row["value"] is not None]
    names = list(dict.fromkeys(name for row in complete for name in row["values"]))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        scaled = [_scaled([row["values"].get(name) for row in complete]) for name in names]
        values = np.array([row["value"] for row in complete], np.float64)
        scaled.append((_unit(values), (f"{values.min():.4g}", f"{values.max():.4g}")))
        best = _best(complete, higher_is_better=higher_is_better)
        for at, row in enumerate(complete):
            heights = [places[at] for places, _ in scaled]
            axes.plot(range(len(heights)), heights, color=BEST if row is best else BAR, alpha=1.0 if row is best else 0.35, linewidth=1.2)
        for at, (_, (low, high)) in enumerate(scaled):
            axes.axvline(at, color=QUIET, linewidth=0.8)
            axes.text(at, -0.04, short(low), ha="center", va="top", fontsize=8)
            axes.text(at, 1.04, short(high), ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(scaled)), [*_told(names), objective])
        axes.tick_params(axis="x", pad=16)
        axes.set_yticks([])
        axes.set_ylim(-0.02, 1.02)
        axes.set_frame_on(False)

    return render(draw, (max(6.0, 1.5 * (len(names) + 1)), 4.2))


def search_importance_picture(importance: Mapping[str, float], objective: str) -> Picture:
    """The share of the differences between trials that each field explains."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        names = sorted(importance, key=lambda name: importance[name])
        axes.barh(range(len(names)), [importance[name] for name in names], color=BAR)
        axes.set_yticks(range(len(names)), _told(names))
        axes.set_xlabel(f"share of the differences in {objective}" if names else "too few trials to tell")
        open_frame(axes)

    return render(draw, (6.4, 1.4 + 0.4 * max(1, len(importance))))


def _best(trials: Rows, *, higher_is_better: bool) -> Mapping[str, Any] | None:
    choose = max if higher_is_better else min
    return choose((row for row in trials if row["value"] is not None), key=lambda row: row["value"], default=None)


def _told(names: Sequence[str]) -> list[str]:
    """Each field by as many of its last words as tell it from the others."""

    def end(name: str, words: int) -> str:
        return ".".join(name.split(".")[-words:])

    return [
        short(next((end(name, words) for words in range(1, 9) if sum(end(other, words) == end(name, words) for other in names) == 1), name))
        for name in names
    ]


def _scaled(values: list[Any]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Places between 0 and 1, and what stands at both ends; numbers over more than two decades by their size."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, np.float64)
        wide = numbers.min() > 0 and numbers.max() / numbers.min() > 100
        return _unit(np.log(numbers) if wide else numbers), (f"{numbers.min():.3g}", f"{numbers.max():.3g}")
    words = [str(value) for value in values]
    order = sorted(set(words))
    return _unit(np.array([order.index(word) for word in words], np.float64)), (order[0], order[-1])


def _unit(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    span = float(np.ptp(numbers))
    return (numbers - numbers.min()) / span if span else np.full(len(numbers), 0.5)
