"""The picture of a data profile: how classes and values are spread over the sides of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelyard.evaluation.canvas import BAR, BEST, INK, QUIET, Picture, open_frame, render, short

_COLOURS = {"train": BAR, "validation": QUIET, "held_out": BEST}
_COLUMNS = 2
_MOST_CLASSES = 20


def profile_picture(panels: Sequence[Mapping[str, Any]]) -> Picture:
    """``panels`` are of the kind ``balance``, ``histogram`` or ``line``."""
    draws = {"balance": _balance, "histogram": _histogram, "line": _line}
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))

    def draw(figure: Figure) -> None:
        grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid, panels, strict=False):
            draws[panel["kind"]](axes, panel)
            axes.set_title(short(str(panel["title"])))
        # One legend for all, above: within a panel it would cover what it explains.
        named = {label: handle for axes in grid[::-1] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if named:
            figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=len(named), frameon=False)
        open_frame(*grid[: len(panels)])

    return render(draw, (4.6 * columns, 3.2 * rows + 0.4))


def _balance(axes: Any, panel: Mapping[str, Any]) -> None:
    parts: Mapping[str, Mapping[str, int]] = panel["parts"]
    names = list(next(iter(parts.values()), {}))[:_MOST_CLASSES]
    left = np.zeros(len(names))
    for part, counts in parts.items():
        found = np.array([counts[name] for name in names], np.float64)
        axes.barh(range(len(names)), found, left=left, color=_COLOURS.get(part, INK), label=part.replace("_", " "))
        left += found
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _histogram(axes: Any, panel: Mapping[str, Any]) -> None:
    for part, shares in panel["parts"].items():
        axes.stairs(shares, panel["edges"], color=_COLOURS.get(part, INK), linewidth=1.6, label=part.replace("_", " "))
    axes.set_ylabel("share of the rows")
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=6)


def _line(axes: Any, panel: Mapping[str, Any]) -> None:
    values = [float("nan") if value is None else value for value in panel["values"]]
    axes.plot(panel["at"], values, color=INK, linewidth=0.9)
    for part, (first, last) in panel["spans"].items():
        axes.axvspan(first, last, color=_COLOURS.get(part, INK), alpha=0.18, linewidth=0, label=part.replace("_", " "))
    axes.set_xlabel("row")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
