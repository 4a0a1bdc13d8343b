"""Whether a child is kept or flagged: a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.optimize.spec import Tolerance

_SAME = 1e-3
"""Differences below this share of an output's size are roundings."""


def reasons_against(measured: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    """Why the child is flagged, each a clause about it; empty when it is kept."""
    return [*_size(measured, tolerance), *_latency(measured, tolerance), *_quality(measured, tolerance)]


def _size(measured: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    before, after = measured["parent"]["size_bytes"], measured["child"]["size_bytes"]
    return [f"larger: {after:,} bytes instead of {before:,}"] if after > before * (1 + tolerance.size) else []


def _latency(measured: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    return [
        f"slower: {race['ratio']:.2f} times the time at batch {rows}"
        for rows, race in measured["races"].items()
        if race["ratio_low"] > 1 + tolerance.latency
    ]


def _quality(measured: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    quality = measured["quality"]
    if quality is not None:
        loss = quality["loss"]["value"]
        return (
            [] if loss <= tolerance.quality else [f"worse: {quality['metric']} loses {loss:.4g}, more than {tolerance.quality:g}"]
        )  # NaN, too
    if tolerance.quality >= 1:  # its owner answers for it
        return []
    if not measured["exact"]:
        return ["unproven: the pass changes answers, and there are no held-out rows to judge it by"]
    apart = [name for name, facts in measured["difference"].items() if facts.get("relative", 1 - facts.get("agreement", 1.0)) > _SAME]
    return [f"unproven: it answers differently in {', '.join(apart)}"] if apart else []
