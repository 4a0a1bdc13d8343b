"""Windows of a series, and which of them may be learned from: nothing that is judged lies in what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.series import Series
from modelyard.datasets.split import hold_out
from modelyard.datasets.table import Rows

_FEWEST = 4
"""Windows on each side of a split."""


@dataclass(frozen=True)
class WindowPlan:
    """How windows are cut and split."""

    window: int
    ahead: int
    """Rows after the window that are predicted; 0 where the window itself is labelled."""
    stride: int
    split: Literal["time", "groups"]
    embargo: int
    test_size: float
    validation_size: float
    seed: int


@dataclass(frozen=True)
class Windows:
    """Windows by the row that they begin with, as row numbers of the sorted series, in rising order."""

    train: Rows
    validate: Rows
    test: Rows
    left_out: int
    """Windows between the sides, which would have let one see the other."""


def cut(series: Series, plan: WindowPlan, usable: NDArray[np.bool_], name: str, kinds: NDArray[np.intp] | None = None) -> Windows:
    """Splits all windows of which ``usable`` (by first row) says that they can be used.

    ``kinds`` is a number for each group: groups that are held out are of all kinds.

    Raises InvalidData when a side would have too few.
    """
    starts = _starts(series, plan)
    if not len(starts):
        longest = int(np.bincount(series.segment).max())
        raise InvalidData(
            f"The longest stretch of {name} without a gap has {longest:,} rows, and a window with its horizon takes "
            f"{plan.window + plan.ahead:,}; shorten them, or fill the gaps."
        )
    starts = starts[usable[starts]]
    found = _by_groups(series, starts, plan, name, kinds) if plan.split == "groups" else _by_time(series, starts, plan)
    for side, rows in (("learn from", found.train), ("choose the best epoch by", found.validate), ("hold out", found.test)):
        if len(rows) < _FEWEST:
            raise InvalidData(
                f"{name} gives {len(rows)} windows to {side}, and at least {_FEWEST} are needed; "
                "give more rows, or lower window, horizon, stride or embargo."
            )
    return found


def _starts(series: Series, plan: WindowPlan) -> Rows:
    """Every window that lies in one stretch. Counted from the end of each, so that the newest row is used."""
    counts = np.bincount(series.segment)
    ends = np.cumsum(counts)
    length = plan.window + plan.ahead
    parts = [
        np.arange(end - length, end - count - 1, -plan.stride)[::-1] for end, count in zip(ends, counts, strict=True) if count >= length
    ]
    return np.concatenate(parts).astype(np.intp) if parts else np.empty(0, np.intp)


def _span(plan: WindowPlan) -> tuple[int, int]:
    """First and last row, from a window's beginning, that no other side may see."""
    return (plan.window, plan.window + plan.ahead - 1) if plan.ahead else (0, plan.window - 1)


def _by_time(series: Series, starts: Rows, plan: WindowPlan) -> Windows:
    """The latest share of the time is held out; before it, the latest share of the rest is what the best epoch is chosen by."""
    first, last = _span(plan)
    begins, ends = series.position[starts + first], series.position[starts + last]

    def before(edge: float) -> NDArray[np.bool_]:
        limit: NDArray[np.bool_] = ends < edge - (plan.embargo + 0.5) * series.step
        return limit

    test_from = _edge(begins, plan.test_size)
    test, seen = begins >= test_from, before(test_from)
    if not seen.any():
        return Windows(starts[seen], starts[seen], starts[test], len(starts) - int(test.sum()))
    validate_from = _edge(begins[seen], plan.validation_size)
    validate, train = seen & (begins >= validate_from), seen & before(validate_from)
    return Windows(starts[train], starts[validate], starts[test], len(starts) - int((train | validate | test).sum()))


def _edge(begins: NDArray[np.float64], share: float) -> float:
    """The point in time after which about this share of the windows begins."""
    ordered = np.sort(begins)
    return float(ordered[min(len(ordered) - 1, round(len(ordered) * (1 - share)))])


def _by_groups(series: Series, starts: Rows, plan: WindowPlan, name: str, kinds: NDArray[np.intp] | None) -> Windows:
    """Whole groups are held out, whatever their time."""
    owners = series.group[starts]
    groups = np.unique(owners)
    if len(groups) < 3:
        raise InvalidData(
            f"{name} has {len(groups)} group(s) with a whole window, and three are needed to learn from one, choose by another and hold "
            "out a third; set split to time."
        )
    of = None if kinds is None else kinds[groups]
    seen, test = hold_out(len(groups), plan.test_size, plan.seed, of)
    train, validate = hold_out(len(seen), plan.validation_size, plan.seed + 1, None if of is None else of[seen])
    learned, chosen_by, held = (starts[np.isin(owners, groups[part])] for part in (seen[train], seen[validate], test))
    return Windows(learned, chosen_by, held, 0)
