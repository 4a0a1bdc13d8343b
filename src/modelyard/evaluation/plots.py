"""Pictures of an evaluation: confusion, residuals, leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from modelyard.evaluation.canvas import BAR, BEST, INK, QUIET, Picture, open_frame, render, short

_MOST_CELLS_WITH_NUMBERS = 20
_MOST_POINTS = 5_000


def confusion_picture(counts: ArrayLike, names: Sequence[str], title: str) -> Picture:
    """A confusion matrix ``[classes, classes]``: rows are true classes, colours shares of the row, numbers are counts."""
    cells = np.asarray(counts, np.int64)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04, label="share of the true class")
        ticks = range(0, len(names), 1 if len(names) <= 40 else len(names) // 20)
        labels = [short(names[at]) for at in ticks]
        axes.set_xticks(
            ticks, labels, rotation=35 if max(map(len, labels)) > 4 else 0, ha="right" if max(map(len, labels)) > 4 else "center"
        )
        axes.set_yticks(ticks, labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(title)
        if len(names) <= _MOST_CELLS_WITH_NUMBERS:
            for row, column in np.ndindex(cells.shape):
                colour = "white" if shares[row, column] > 0.55 else INK
                axes.text(column, row, f"{cells[row, column]:,}", ha="center", va="center", color=colour)

    side = min(4.2 + 0.35 * len(names), 11.0)
    return render(draw, (side + 0.8, side))


def residual_picture(true: ArrayLike, estimates: ArrayLike, target: str) -> Picture:
    """Two panels: predicted against true (``[rows]`` each), and the distribution of the residuals."""
    truth, predicted = np.asarray(true, np.float64), np.asarray(estimates, np.float64)

    def draw(figure: Figure) -> None:
        step = max(1, len(truth) // _MOST_POINTS)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.scatter(truth[::step], predicted[::step], s=14, alpha=0.55, color=BAR, linewidths=0)
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        left.plot([low, high], [low, high], color=BEST, linewidth=1.2, label="equal")
        left.set_xlabel(f"true {short(target)}")
        left.set_ylabel(f"predicted {short(target)}")
        left.set_title("Predicted against true, held-out rows")
        left.legend(frameon=False, loc="upper left")
        right.hist(predicted - truth, bins=min(40, max(8, len(truth) // 8)), color=BAR)
        right.axvline(0.0, color=BEST, linewidth=1.2)
        right.set_xlabel("predicted - true")
        right.set_ylabel("rows")
        for axes in (left, right):
            axes.locator_params(nbins=5)
            axes.ticklabel_format(scilimits=(-3, 5), useMathText=False)
        right.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        right.set_title("Residuals")
        open_frame(left, right)

    return render(draw, (9.0, 4.2))


def leaderboard_picture(rows: Sequence[Mapping[str, Any]], metric: str, *, higher_is_better: bool) -> Picture:
    """A bar for each ranked family, of which there is at least one, with its deviation over the folds; the chosen one stands out."""
    ranked = [row for row in rows if row["mean"] is not None]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(ranked))
        means = [row["mean"] for row in ranked]
        colours = [BEST if row["status"] == "selected" else BAR for row in ranked]
        axes.barh(places, means, xerr=[row["std"] for row in ranked], color=colours, error_kw={"ecolor": QUIET, "capsize": 3})
        axes.set_yticks(places, [str(row["title"]) for row in ranked])
        axes.invert_yaxis()
        reach = max(abs(row["mean"]) + row["std"] for row in ranked) or 1.0
        for place, row in zip(places, ranked, strict=True):
            end = max(row["mean"], 0.0) + row["std"]
            axes.text(end + 0.02 * reach, place, f"{row['mean']:.4g}", va="center")
        axes.set_xlim(min(0.0, *(row["mean"] - row["std"] for row in ranked)), 1.18 * reach)
        axes.set_xlabel(f"{metric}, mean and deviation over the folds ({'higher' if higher_is_better else 'lower'} is better)")
        axes.set_title("Model families")
        open_frame(axes)

    return render(draw, (8.0, 1.6 + 0.42 * len(ranked)))


def selection_picture(
    comparison: Sequence[Mapping[str, Any]], method: str, kept: Sequence[str], left_out: Sequence[str], metric: str
) -> Picture:
    """How well the methods' columns do, and which were kept: dots, because methods differ by little."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(comparison))
        colours = [BEST if row["method"] == method else QUIET if row["method"] == "all" else BAR for row in comparison]
        for place, row, colour in zip(places, comparison, colours, strict=True):
            axes.errorbar(row["mean"], place, xerr=row["std"], fmt="o", color=colour, ecolor=QUIET, capsize=3, markersize=8)
            axes.annotate(f"{row['mean']:.4g}", (row["mean"] + row["std"], place), (6, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [f"{row['method'].replace('_', ' ')} ({row['columns']})" for row in comparison])
        axes.set_ylim(len(comparison) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.grid(axis="x", color=QUIET, alpha=0.25)
        axes.set_xlabel(f"{metric.replace('_', ' ')}, mean and deviation over the folds; in brackets: columns")
        shown = ", ".join(short(name) for name in kept[:8]) + (" …" if len(kept) > 8 else "")
        axes.set_title(f"{len(kept)} of {len(kept) + len(left_out)} columns: {shown}", fontsize=9)
        open_frame(axes)

    return render(draw, (8.0, 1.8 + 0.42 * len(comparison)))
