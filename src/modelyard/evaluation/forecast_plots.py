"""Pictures of forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelyard.evaluation.canvas import BAR, BEST, INK, QUIET, Picture, open_frame, render, short

_COLUMNS = 3


def forecasts_picture(panels: Sequence[Mapping[str, Any]], rival: str, target: str) -> Picture:
    """Held-out windows: what was seen, what came, what the network and its rival said."""
    rows = max(1, -(-len(panels) // _COLUMNS))

    def draw(figure: Figure) -> None:
        grid = np.atleast_1d(figure.subplots(rows, min(_COLUMNS, len(panels)))).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid, panels, strict=False):
            seen = len(panel["seen"])
            ahead = range(seen, seen + len(panel["came"]))
            axes.plot(range(seen), _numbers(panel["seen"]), color=QUIET, linewidth=1.2, label="seen")
            axes.plot(ahead, _numbers(panel["came"]), color=INK, linewidth=1.4, marker=".", label="what came")
            axes.plot(ahead, _numbers(panel["rival"]), color=BAR, linewidth=1.0, linestyle="--", marker=".", label=rival)
            axes.plot(ahead, _numbers(panel["said"]), color=BEST, linewidth=1.4, marker=".", label="network")
            axes.axvline(seen - 0.5, color=QUIET, linewidth=0.8, linestyle=":")
            axes.set_title(str(panel["title"]), fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if panels:
            figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        figure.supylabel(short(target), fontsize="medium")
        figure.supxlabel("row of the window and what follows it", fontsize="medium")
        open_frame(*grid[: len(panels)])

    return render(draw, (3.4 * min(_COLUMNS, max(1, len(panels))) + 0.6, 2.7 * rows + 0.5))


def forecast_errors_picture(rows: Sequence[Mapping[str, Any]], steps: Mapping[str, Sequence[float]]) -> Picture:
    """Mean absolute error of every method with its interval, and at each step ahead."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 4))
        places = range(len(rows))
        means = [row["mae"] for row in rows]
        ends = [row["intervals"]["mae"] for row in rows]
        reach = [
            [max(0.0, mean - end["low"]) for mean, end in zip(means, ends, strict=True)],
            [max(0.0, end["high"] - mean) for mean, end in zip(means, ends, strict=True)],
        ]
        colours = [BEST if row["method"] == "network" else BAR for row in rows]
        left.barh(places, means, xerr=reach, color=colours, error_kw={"ecolor": QUIET, "capsize": 3})
        left.set_yticks(places, [str(row["method"]) for row in rows])
        left.invert_yaxis()
        left.set_xlabel("mean absolute error, held-out windows\n(bars: 95 % of resampled blocks)")
        for at, (name, errors) in enumerate(steps.items()):
            colour = BEST if name == "network" else (BAR, QUIET, INK)[at % 3]
            right.plot(range(1, len(errors) + 1), errors, marker=".", color=colour, label=name)
        right.set_xlabel("steps ahead")
        right.set_ylabel("mean absolute error")
        right.set_ylim(bottom=0)
        right.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=len(steps), frameon=False)
        open_frame(left, right)

    return render(draw, (9.0, 3.6))


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
