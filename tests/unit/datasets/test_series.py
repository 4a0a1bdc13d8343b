"""Rows in time, the windows cut of them, and the promise that nothing judged lies in what was learned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData
from modelyard.datasets.read import read_table
from modelyard.datasets.series import read_series
from modelyard.datasets.windows import WindowPlan, cut


@pytest.fixture
def table(tmp_path):
    def _table(text):
        path = tmp_path / "series.csv"
        path.write_text(text)
        return read_table(path)

    return _table


def monthly(count, first=1990, group=""):
    rows = [f"{first + at // 12}-{at % 12 + 1:02d}" for at in range(count)]
    return [f"{row},{group},{at}" if group else f"{row},{at}" for at, row in enumerate(rows)]


def test_rows_are_put_in_order_group_by_group_and_months_are_equal_steps(table):
    lines = monthly(30, group="b") + monthly(26, group="a")
    series = read_series(table("month,who,value\n" + "\n".join(lines[::-1])), "month", ["who"])
    assert series.names == ("a", "b")
    assert series.group.tolist() == [0] * 26 + [1] * 30
    assert (series.step, series.season, series.gaps) == (1.0, 12, 0)
    assert [series.times[at] for at in (0, 25, 26)] == ["1990-01", "1992-02", "1990-01"]


def test_a_gap_begins_a_new_stretch(table):
    lines = monthly(30)
    series = read_series(table("month,value\n" + "\n".join(lines[:12] + lines[14:])), "month", [])
    assert series.gaps == 1
    assert np.bincount(series.segment).tolist() == [12, 16]


@pytest.mark.parametrize(
    ("times", "season"),
    [
        ([f"2026-03-01 {hour:02d}:00" for hour in range(12)], 24),
        ([f"2026-03-{day:02d}" for day in range(1, 13)], 7),
        ([f"{year}" for year in range(1990, 2002)], 1),
    ],
)
def test_the_season_comes_from_the_step(table, times, season):
    assert read_series(table("t,y\n" + "\n".join(f"{time},1.5" for time in times)), "t", []).season == season


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("t,y\n2026-01-01,1\n2026-01-02,2\n2026-01-01,3", r"two rows at the time '2026-01-01' \(data rows 1 and 3\); keep one .* groups"),
        ("t,y\n2026-01-01,1\nsoon,2", r"Data row 2 .* the time 'soon', which cannot be read: write it in ISO 8601"),
        ("t,y\n2026-01-01,1\n,2", "Data row 2 of series.csv has no 't'"),
        ("when,y\n2026-01-01,1\n", "no column of time 't'"),
    ],
)
def test_times_that_order_nothing_are_refused(table, text, told):
    with pytest.raises(InvalidData, match=told):
        read_series(table(text), "t", [])


def test_dates_of_any_form_are_read_when_they_are_described(table):
    series = read_series(table("t,y\n28/02/2026,1\n01/03/2026,2\n02/03/2026,3"), "t", [], "%d/%m/%Y")
    assert (series.step, series.season) == (86_400.0, 7)


@given(
    counts=st.lists(st.integers(30, 90), min_size=1, max_size=3),
    window=st.integers(1, 12),
    ahead=st.integers(0, 6),
    stride=st.integers(1, 4),
    embargo=st.integers(0, 8),
    torn=st.booleans(),
)
def test_nothing_that_is_judged_lies_in_or_near_what_was_learned(tmp_path_factory, counts, window, ahead, stride, embargo, torn):
    lines = [f"{at + (4 if torn and at > 20 else 0)},{who},{at}" for who, count in enumerate(counts) for at in range(count)]
    path = tmp_path_factory.mktemp("series") / "series.csv"
    path.write_text("t,who,y\n" + "\n".join(lines))
    series = read_series(read_table(path), "t", ["who"])
    plan = WindowPlan(window, ahead, stride, "time", embargo, 0.25, 0.2, 0)
    try:
        found = cut(series, plan, np.ones(len(series), bool), "series.csv")
    except InvalidData as error:  # too short for this plan, which is told as such
        if "windows to" not in error.message and "longest stretch" not in error.message:
            raise
        return
    length = window + ahead
    for starts in (found.train, found.validate, found.test):
        assert (series.segment[starts] == series.segment[starts + length - 1]).all()
    first, last = (window, length - 1) if ahead else (0, window - 1)
    for learned, judged in ((found.train, found.validate), (found.train, found.test), (found.validate, found.test)):
        # At least ``embargo`` whole steps of time lie between the last row learned from and the first that is foretold.
        assert series.position[learned + last].max() + embargo < series.position[judged + first].min()


def test_whole_groups_are_held_out(table):
    lines = [f"{at},{who},{at}" for who in "abcdef" for at in range(30)]
    series = read_series(table("t,who,y\n" + "\n".join(lines)), "t", ["who"])
    found = cut(series, WindowPlan(6, 2, 1, "groups", 2, 0.3, 0.2, 1), np.ones(len(series), bool), "series.csv")
    sides = [set(series.group[starts]) for starts in (found.train, found.validate, found.test)]
    assert all(sides)
    assert sorted(at for side in sides for at in side) == list(range(6))


def test_what_is_too_short_is_told(table):
    series = read_series(table("t,y\n" + "\n".join(f"{at},{at}" for at in range(20))), "t", [])
    with pytest.raises(InvalidData, match="longest stretch of s without a gap has 20 rows, and a window with its horizon takes 30"):
        cut(series, WindowPlan(20, 10, 1, "time", 10, 0.2, 0.1, 0), np.ones(20, bool), "s")
    with pytest.raises(InvalidData, match="gives 0 windows to learn from"):
        cut(series, WindowPlan(8, 5, 1, "time", 5, 0.2, 0.1, 0), np.ones(20, bool), "s")
    grouped = read_series(table("t,who,y\n" + "\n".join(f"{at},a,{at}" for at in range(20))), "t", ["who"])
    with pytest.raises(InvalidData, match="has 1 group"):
        cut(grouped, WindowPlan(4, 1, 1, "groups", 0, 0.2, 0.1, 0), np.ones(20, bool), "s")
