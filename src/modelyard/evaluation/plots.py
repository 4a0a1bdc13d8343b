"""Pictures of an evaluation as SVG and PNG, drawn with Matplotlib's object interface: no state is shared between pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

_INK = "#1f2933"
_BAR = "#2f6f9f"
_BEST = "#c8553d"
_QUIET = "#8a94a0"
_MOST_CELLS_WITH_NUMBERS = 20
_MOST_POINTS = 5_000
_LABEL_LENGTH = 20
_STYLE: Any = {
    # Text stays text (small files, readable by machines), and equal pictures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "modelyard",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _QUIET,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.parse_math": False,
}

Picture = dict[str, bytes]
"""File extension (``svg``, ``png``) → content."""


def confusion_picture(counts: ArrayLike, names: Sequence[str], title: str) -> Picture:
    """A confusion matrix ``[classes, classes]``: rows are true classes, colours shares of the row, numbers are counts."""
    cells = np.asarray(counts, np.int64)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04, label="share of the true class")
        ticks = range(0, len(names), 1 if len(names) <= 40 else len(names) // 20)
        labels = [_short(names[at]) for at in ticks]
        axes.set_xticks(
            ticks, labels, rotation=35 if max(map(len, labels)) > 4 else 0, ha="right" if max(map(len, labels)) > 4 else "center"
        )
        axes.set_yticks(ticks, labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(title)
        if len(names) <= _MOST_CELLS_WITH_NUMBERS:
            for row, column in np.ndindex(cells.shape):
                colour = "white" if shares[row, column] > 0.55 else _INK
                axes.text(column, row, f"{cells[row, column]:,}", ha="center", va="center", color=colour)

    side = min(4.2 + 0.35 * len(names), 11.0)
    return _render(draw, (side + 0.8, side))


def residual_picture(true: ArrayLike, estimates: ArrayLike, target: str) -> Picture:
    """Two panels: predicted against true (``[rows]`` each), and the distribution of the residuals."""
    truth, predicted = np.asarray(true, np.float64), np.asarray(estimates, np.float64)

    def draw(figure: Figure) -> None:
        step = max(1, len(truth) // _MOST_POINTS)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.scatter(truth[::step], predicted[::step], s=14, alpha=0.55, color=_BAR, linewidths=0)
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        left.plot([low, high], [low, high], color=_BEST, linewidth=1.2, label="equal")
        left.set_xlabel(f"true {_short(target)}")
        left.set_ylabel(f"predicted {_short(target)}")
        left.set_title("Predicted against true, held-out rows")
        left.legend(frameon=False, loc="upper left")
        right.hist(predicted - truth, bins=min(40, max(8, len(truth) // 8)), color=_BAR)
        right.axvline(0.0, color=_BEST, linewidth=1.2)
        right.set_xlabel("predicted - true")
        right.set_ylabel("rows")
        for axes in (left, right):
            axes.locator_params(nbins=5)
            axes.ticklabel_format(scilimits=(-3, 5), useMathText=False)
        right.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        right.set_title("Residuals")
        _open_frame(left, right)

    return _render(draw, (9.0, 4.2))


def leaderboard_picture(rows: Sequence[Mapping[str, Any]], metric: str, *, higher_is_better: bool) -> Picture:
    """A bar for each ranked family with its deviation over the folds; the chosen one stands out."""
    ranked = [row for row in rows if row["mean"] is not None]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(ranked))
        means = [row["mean"] for row in ranked]
        colours = [_BEST if row["status"] == "selected" else _BAR for row in ranked]
        axes.barh(places, means, xerr=[row["std"] for row in ranked], color=colours, error_kw={"ecolor": _QUIET, "capsize": 3})
        axes.set_yticks(places, [str(row["title"]) for row in ranked])
        axes.invert_yaxis()
        reach = max(abs(row["mean"]) + row["std"] for row in ranked) or 1.0
        for place, row in zip(places, ranked, strict=True):
            end = max(row["mean"], 0.0) + row["std"]
            axes.text(end + 0.02 * reach, place, f"{row['mean']:.4g}", va="center")
        axes.set_xlim(min(0.0, *(row["mean"] - row["std"] for row in ranked)) if ranked else 0.0, 1.18 * reach)
        axes.set_xlabel(f"{metric}, mean and deviation over the folds ({'higher' if higher_is_better else 'lower'} is better)")
        axes.set_title("Model families")
        _open_frame(axes)

    return _render(draw, (8.0, 1.6 + 0.42 * max(len(ranked), 1)))


def _open_frame(*panels: Any) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)


def _short(text: str) -> str:
    """Long names lose their middle: what tells them apart is as often at the end as at the beginning."""
    half = _LABEL_LENGTH // 2
    return text if len(text) <= _LABEL_LENGTH else f"{text[: half - 1]}…{text[-half:]}"


def _render(draw: Callable[[Figure], None], size: tuple[float, float]) -> Picture:
    with rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        draw(figure)
        # The canvases' own methods draw once each; print_figure would draw everything a second time.
        png, svg = io.BytesIO(), io.BytesIO()
        raster: Any = FigureCanvasAgg(figure)
        raster.print_png(png, metadata={"Software": None})
        # Laid out once: the second format takes the same places.
        figure.set_layout_engine("none")
        vector: Any = FigureCanvasSVG(figure)
        vector.print_svg(svg, metadata={"Date": None})
    return {"png": png.getvalue(), "svg": svg.getvalue()}
