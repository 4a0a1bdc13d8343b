"""The picture of a benchmark: latency over throughput, one point for each number of connections, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 420, 70, 50, 40, 20
COLOURS = {"p50": "#1f77b4", "p99": "#d62728"}


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
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)

    def across(per_second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * per_second / most

    def up(milliseconds: float) -> float:
        share = (math.log10(max(milliseconds, 10.0**low)) - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
    for step in range(6):
        x = across(most * step / 5)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{most * step / 5:.0f}</text>')
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">answers per second</text>')
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
