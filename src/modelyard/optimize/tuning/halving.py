"""Successive halving: all candidates get a little time, the better half twice as much, and so on. A pure function of what it is told.

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Candidate = TypeVar("Candidate")
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Standing(Generic[Candidate, Measured]):
    """A candidate with the last that was measured of it."""

    candidate: Candidate
    measured: Measured
    rounds: int
    """In how many it was."""
    seconds: float
    """Of its last measurement."""


def halve(
    candidates: Sequence[Candidate],
    measure: Callable[[Candidate, float], Measured],
    key: Callable[[Measured], tuple[float, ...]],
    seconds: float,
) -> list[Standing[Candidate, Measured]]:
    """All candidates, the best first: those that got further before the others, and of those the ones with the smaller ``key``.

    ``seconds`` are shared alike between rounds, and within a round between its candidates.
    """
    rounds = max(1, math.ceil(math.log2(max(1, len(candidates)))))
    left, out = list(candidates), list[Standing[Candidate, Measured]]()
    for number in range(1, rounds + 1):
        each = seconds / rounds / len(left)
        standings = [Standing(candidate, measure(candidate, each), number, each) for candidate in left]
        standings.sort(key=lambda standing: key(standing.measured))
        stay = len(standings) if number == rounds else math.ceil(len(standings) / 2)
        out = standings[stay:] + out
        left = [standing.candidate for standing in standings[:stay]]
    return standings[: len(left)] + out


def front(points: Sequence[tuple[float, ...]]) -> list[int]:
    """The places of points that no other is as good as in everything and better in something; smaller is better."""

    def beaten(point: tuple[float, ...]) -> bool:
        return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)

    return [at for at, point in enumerate(points) if not beaten(point)]
