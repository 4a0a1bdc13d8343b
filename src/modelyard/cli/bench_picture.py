"""The picture of a benchmark: latency over throughput, one point for each number of connections, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 420, 70, 50, 40, 20
COLOURS = {"p50": "#1f77b4", "p99": "#d62728"}
ROUND = tuple(digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5))
_MOST_STEPS = 8


class Point(NamedTuple):
    """One measurement."""

    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float


def picture(title: str, points: Sequence[Point]) -> str:
    """Throughput to the right, latency upwards on a logarithmic scale."""
    most = max((point.per_second for point in points), default=1.0) * 1.05 or 1.0
    values = [value for point in points for value in (point.p50_ms, point.p99_ms) if value > 0] or [1.0]
    levels = levels_around(min(values), max(values))
    low, high = levels[0], levels[-1]

    def across(per_second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * per_second / most

    def up(milliseconds: float) -> float:
        share = math.log(max(milliseconds, low) / low) / math.log(high / low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for level in levels:
        y = up(level)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g} ms</text>')
    step = next(one for one in ROUND if most / one <= _MOST_STEPS)
    steps = [at * step for at in range(int(most / step) + 1)]
    parts += [f'<text x="{across(one):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{one:,.10g}</text>' for one in steps]
    told = "answers per second (at the points: connections)"
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{told}</text>')
    for name, colour in COLOURS.items():
        at = [(across(point.per_second), up(getattr(point, f"{name}_ms")), point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, point in at:
            told = f"{point.connections} connections: {name} {getattr(point, f'{name}_ms'):.3g} ms at {point.per_second:.0f}/s"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{told}</title></circle>')
            parts.append(f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" fill="{colour}">{point.connections}</text>')
    for place, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{WIDTH - 90 + 45 * place}" y="22" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def levels_around(least: float, most: float) -> list[float]:
    """Round numbers from one that is not above ``least`` to one that is not below ``most``, at least two."""
    first = max((at for at, level in enumerate(ROUND) if level <= least), default=0)
    last = min((at for at, level in enumerate(ROUND) if level >= most), default=len(ROUND) - 1)
    return list(ROUND[first : max(last, first + 1) + 1])
