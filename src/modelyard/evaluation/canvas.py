"""What all pictures share: how they look, and how they become SVG and PNG with Matplotlib's object interface, which keeps no state."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

INK = "#1f2933"
BAR = "#2f6f9f"
BEST = "#c8553d"
QUIET = "#8a94a0"
_LABEL_LENGTH = 20
_STYLE: Any = {
    # Text stays text (small files, readable by machines), and equal pictures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "modelyard",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
}

Picture = dict[str, bytes]
"""File extension (``svg``, ``png``) → content."""


def open_frame(*panels: Any) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)


def by_size(axes: Any, marks: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Places along x by their size, with plain numbers below: Matplotlib's own are formulas, which stay text here.

    To be called when all is drawn: between values that lie close together there may be none of the ``marks``.
    """
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=marks) if high > 10 * low else MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def short(text: str) -> str:
    """Long names lose their middle: what tells them apart is as often at the end as at the beginning."""
    half = _LABEL_LENGTH // 2
    return text if len(text) <= _LABEL_LENGTH else f"{text[: half - 1]}…{text[-half:]}"


def render(draw: Callable[[Figure], None], size: tuple[float, float]) -> Picture:
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
