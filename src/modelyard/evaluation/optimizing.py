"""Pictures of versions beside the one that they were made of, and of a tuning's trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from modelyard.evaluation.canvas import BAR, BEST, QUIET, Picture, by_size, open_frame, render, short

_LARGEST = 420.0
"""Area of the largest dot."""


def tuning_picture(tried: Sequence[Mapping[str, Any]], objective_ms: float) -> Picture:
    """Every trial by quality and latency, its size as the dot's; what nothing else beats stands out, and the first is the choice."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        largest = max(row["size_bytes"] for row in tried)
        for at, row in enumerate(tried):
            colour = BEST if at == 0 else BAR if row["best"] else QUIET
            area = max(18.0, _LARGEST * row["size_bytes"] / largest)
            seen, above = (0.75, 3) if at == 0 else (0.75, 2) if row["best"] else (0.35, 1)
            axes.scatter([row["p99_ms"]], [row["loss"]], s=area, color=colour, alpha=seen, zorder=above, linewidths=0)
        axes.axvline(objective_ms, color=QUIET, linewidth=1.0, linestyle=":")
        by_size(axes)
        lost = [row["loss"] for row in tried]
        room = max(0.005, 0.2 * (max(lost) - min(lost)))
        axes.set_ylim(min(lost) - room, max(lost) + room)
        axes.set_xlabel("p99 of a call, ms (dotted: the objective)")
        axes.set_ylabel("quality lost")
        axes.set_title(f"Chosen: {tried[0]['title']}; dots are as large as the files", fontsize=9)
        open_frame(axes)

    return render(draw, (8.0, 4.4))


def family_picture(rows: Sequence[Mapping[str, Any]], metric: str) -> Picture:
    """A version and its children: size, time of a call and quality, a bar each."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 3, sharey=True)
        places = range(len(rows))
        titles = [("size_bytes", 1e-3, "size, kB"), ("p50_us", 1.0, "time of one row, µs"), ("quality", 1.0, _words(metric or "quality"))]
        for axes, (name, unit, title) in zip(panels, titles, strict=True):
            values = [row[name] * unit if row[name] is not None else 0.0 for row in rows]
            colours = [BAR if at == 0 else BEST if row["kept"] else QUIET for at, row in enumerate(rows)]
            axes.barh(places, values, color=colours)
            for place, value in zip(places, values, strict=True):
                axes.text(value, place, f" {_number(value)}", va="center", fontsize=9)
            axes.set_xlim(0, max([*values, 1e-12]) * 1.3)
            axes.set_title(title, fontsize=10)
            axes.locator_params(axis="x", nbins=4)
            axes.ticklabel_format(axis="x", scilimits=(-3, 6))
        panels[0].set_yticks(places, [short(row["title"]) for row in rows])
        panels[0].invert_yaxis()
        open_frame(*panels)

    return render(draw, (9.0, 1.4 + 0.42 * len(rows)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _words(name: str) -> str:
    return name.replace("_", " ")
