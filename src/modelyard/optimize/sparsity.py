"""Which weights go: the smallest, over all layers or in each, by share or by count, or all but N of every M in a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidRequest
from modelyard.optimize.base import number_between
from modelyard.optimize.weights import Weights

NAME = "prune"
_EXAMPLES = "prune:0.8, prune:keep=100000 or prune:2:4"
_LONGEST_PATTERN = 64
Keep = NDArray[np.bool_]


@dataclass(frozen=True)
class Sparsity:
    """One way of saying how many weights go; of ``share``, ``keep`` and ``pattern`` one is set."""

    share: float = 0.0
    """Of the weights, how many go."""
    keep: int = 0
    """How many stay: the bound K on the number of weights that are not zero."""
    pattern: tuple[int, int] = (0, 0)
    """N and M: of every M weights that one output sums, in the order in which they lie in memory, N stay."""
    each: bool = False
    """Whether share or count are meant for each layer by itself."""

    def kept(self, weights: list[Weights], axes: list[int], progress: float = 1.0) -> list[Keep]:
        """For each tensor which weights stay; ``axes`` are those of the outputs. Of equal weights the later ones stay.

        ``progress`` is how far along the way to the whole it goes: 0.5 takes away half of what is to go.
        """
        if self.pattern[1]:
            return [_in_rows(part, axis, *self.pattern) for part, axis in zip(weights, axes, strict=True)]
        parts = [[part] for part in weights] if self.each else [weights]
        return [keep for part in parts for keep in _largest(part, self._gone(sum(entry.size for entry in part), progress))]

    def _gone(self, total: int, progress: float) -> int:
        wanted = int(self.share * total) if not self.keep else max(0, total - self.keep)
        return int(progress * wanted)


def read_sparsity(argument: str, *, each: bool) -> Sparsity:
    """``0.8``, ``keep=100000`` or ``2:4``.

    Raises InvalidRequest.
    """
    if argument.startswith("keep="):
        count = argument.removeprefix("keep=")
        if not count.isdecimal() or not int(count):
            raise InvalidRequest(f"The pass {NAME!r} keeps a whole number of weights, like prune:keep=100000; it got {count!r}.")
        return Sparsity(keep=int(count), each=each)
    if ":" in argument:
        first, _, second = argument.partition(":")
        if not (first.isdecimal() and second.isdecimal() and 0 < int(first) < int(second) <= _LONGEST_PATTERN):
            raise InvalidRequest(
                f"The pass {NAME!r} keeps N of every M weights, N below M and M at most {_LONGEST_PATTERN}, like prune:2:4; "
                f"it got {argument!r}."
            )
        return Sparsity(pattern=(int(first), int(second)))
    return Sparsity(share=number_between(NAME, argument, 0.0, 1.0, _EXAMPLES), each=each)


def zeroed(weights: list[Weights], kept: list[Keep]) -> list[Weights]:
    """The same with zeros where weights go."""
    return [np.where(keep, part, part.dtype.type(0)) for part, keep in zip(weights, kept, strict=True)]


def _largest(weights: list[Weights], gone: int) -> list[Keep]:
    sizes = np.concatenate([np.abs(part).ravel().astype(np.float64) for part in weights])
    keep = np.ones(len(sizes), bool)
    keep[np.argsort(sizes, kind="stable")[:gone]] = False
    ends = np.cumsum([part.size for part in weights])[:-1]
    return [mask.reshape(part.shape) for part, mask in zip(weights, np.split(keep, ends), strict=True)]


def _in_rows(weights: Weights, axis: int, stay: int, of: int) -> Keep:
    """A last group that is not full keeps all of its weights."""
    moved = np.moveaxis(weights, axis, 0)
    rows = np.abs(moved).reshape(len(moved), -1).astype(np.float64)
    whole = rows.shape[1] // of * of
    keep = np.ones(rows.shape, bool)
    groups = rows[:, :whole].reshape(len(rows), -1, of)
    order = np.argsort(groups, axis=2, kind="stable")
    chosen = np.ones(groups.shape, bool)
    np.put_along_axis(chosen, order[:, :, : of - stay], values=False, axis=2)
    keep[:, :whole] = chosen.reshape(len(rows), whole)
    return np.moveaxis(keep.reshape(moved.shape), 0, axis)
