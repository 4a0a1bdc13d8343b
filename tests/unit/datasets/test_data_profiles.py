"""What profiles tell of texts, series, tables and images, from data whose faults are known."""

import csv
import json

import numpy as np
import pytest

from modelyard.datasets.facts import balance, histogram, outliers
from modelyard.datasets.read import ReadOptions, read_table
from modelyard.datasets.series import read_series
from modelyard.datasets.series_profile import SeriesFacts, profile_series
from modelyard.datasets.table_profile import profile_rows
from modelyard.datasets.text_profile import TextFacts, profile_texts
from modelyard.evaluation.page_profile import profile_section
from modelyard.evaluation.profile_plots import profile_picture


def facts_of(profile):
    return {fact["what"]: (fact["before"], fact["after"]) for fact in profile["facts"]}


def texts(**change):
    long = "one two three four five six seven eight nine ten eleven twelve"
    kept = [*[f"text {at} is not like others {at * 7}" for at in range(18)], f"{long} and more", f"before {long}"]
    found = {
        "raw": [*kept, " ", "unlabelled"],
        "unlabelled": 1,
        "kept": kept,
        "rows": np.arange(20),
        "labels": np.array([0] * 16 + [1] + [0] * 3, np.intp),
        "classes": ("common", "rare"),
        "parts": {"train": np.array([*range(12), 16, 18]), "validation": np.arange(12, 14), "held_out": np.array([14, 15, 17, 19])},
        "duplicates": 0,
        "dropped": 0,
        "tokens": np.array([8] * 19 + [400]),
        "longest": 100,
    }
    return TextFacts(**found | change)


def test_texts_that_say_the_same_in_other_words_around_it_are_found_across_the_split():
    profile = profile_texts(texts())
    facts = facts_of(profile)
    assert facts["rows"] == (22, 20)
    assert facts["without a text"] == facts["without a label"] == (1, 0)
    assert facts["near copies across the split"] == (1, 1)
    assert facts["texts cut off at 100 tokens"] == (None, 1)
    assert profile["splits"][2] == {"part": "held_out", "rows": 4, "classes": {"common": 4, "rare": 0}}
    assert any("1 held-out texts share most of their passages with texts to learn from (data rows 20)" in note for note in profile["notes"])
    assert any("13 times as many rows of 'common' as of 'rare'" in note for note in profile["notes"])
    assert any("No row of held out is of the class 'rare'" in note for note in profile["notes"])
    clean = texts(parts={"train": np.arange(10), "validation": np.arange(10, 14), "held_out": np.arange(14, 18)})
    assert facts_of(profile_texts(clean))["near copies across the split"] == (0, 0)


@pytest.fixture
def climate(tmp_path):
    """Rises, stands still for a while, has a spike, a hole and a gap in time."""
    path = tmp_path / "series.csv"
    values = [f"{np.sin(day * np.pi / 6) + day / 20:.3f}" for day in range(100)]
    values[30:60] = ["2.000"] * 30
    values[70], values[80] = "900", ""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("day", "value"), *((day if day < 90 else day + 50, value) for day, value in enumerate(values))])
    table = read_table(path, ReadOptions(), path.name)
    series = read_series(table, "day", ())
    found = {
        "series": series,
        "columns": ["value"],
        "roles": ["target"],
        "values": table.column("value").numbers().astype(np.float64)[series.rows][:, None],
        "parts": {"train": np.arange(0, 40), "validation": np.arange(46, 52), "held_out": np.arange(60, 80)},
        "left_out": 7,
        "window": 6,
        "ahead": 2,
        "season": 12,
        "scaled": {part: np.linspace(-1, 1, 50) for part in ("train", "validation", "held_out")},
    }
    return lambda **change: SeriesFacts(**found | change)


def test_a_series_tells_its_gaps_spikes_and_stretches_that_stand_still(climate):
    profile = profile_series(climate())
    facts, (column,) = facts_of(profile), profile["columns"]
    assert facts["gaps in time"] == (1, 0)
    assert facts["stretches without a gap"][0] == 2
    assert facts["missing values"] == (1, 0)
    assert facts["windows"] == (None, 66)
    assert facts["rows that are judged and were learned from"] == (None, 0)
    assert (column["missing"], column["outliers"], column["flat"]) == (1, 1, 30)
    assert column["shift"] > 1
    assert any("deviations higher in what is held out" in note for note in profile["notes"])
    assert any("stays the same for 30 rows in a row" in note for note in profile["notes"])
    assert profile["splits"][2]["from"] == "60"


def test_windows_that_are_judged_by_rows_that_were_learned_from_are_counted(climate):
    leaking = {"train": np.arange(0, 40), "validation": np.arange(46, 52), "held_out": np.arange(38, 60)}
    assert facts_of(profile_series(climate(parts=leaking)))["rows that are judged and were learned from"][1] > 0


def test_rows_that_are_there_twice_are_told_apart_by_side(write_table):
    table = write_table({"size": [1, 2, 3, 4, 5, 1000, 1, 8, 9, 10], "kind": list("abababacdb"), "y": list("ababababab")})
    used, values = table.select(["size", "kind"]), np.array([0, 1] * 5, np.intp)
    parts = {"train": np.arange(6), "held_out": np.arange(6, 10)}
    profile = profile_rows(table, used, values, ("a", "b"), parts=parts, prepared=np.zeros((6, 3)))
    facts = facts_of(profile)
    assert facts["columns"] == (3, 3)
    assert facts["rows that are there before"] == (1, 0)
    assert facts["held-out rows that training sees, too"] == (None, 1)
    assert facts["unusual values"] == (1, 0)
    assert any("1 of the 4 held-out rows are copies" in note for note in profile["notes"])
    numbers = profile_rows(table, used, np.linspace(0, 1, 10), (), parts=parts, prepared=np.zeros((6, 3)))
    assert numbers["panels"][0]["title"] == "target"


@pytest.fixture
def write_table(tmp_path):
    def _write(columns):
        path = tmp_path / "t.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
        return read_table(path, ReadOptions(), path.name)

    return _write


def test_values_are_unusual_far_outside_the_quartiles_only():
    assert outliers(np.array([1.0, 2, 3, 4, 5, 60, np.nan])) == 1
    assert outliers(np.array([1.0, 1, 1, 1, 9])) == 0
    assert outliers(np.array([np.nan])) == 0


def test_shares_of_all_sides_have_common_edges():
    found = histogram("x", {"train": np.arange(100.0), "held_out": np.array([5.0, np.nan])})
    assert [sum(shares) for shares in found["parts"].values()] == [pytest.approx(1), pytest.approx(1)]
    assert len(found["edges"]) == len(found["parts"]["train"]) + 1
    table, notes = balance(np.array([0, 1, 1]), ("a", "b"), {"train": np.array([0, 1]), "held_out": np.array([2])})
    assert table[1]["classes"] == {"a": 0, "b": 1}
    assert len(notes) == 1


def test_every_panel_is_drawn_and_the_page_escapes_what_the_data_say(climate, tmp_path):
    profile = profile_texts(texts(classes=("<b>", "rare"))) | {"columns": [{"name": "<i>", "kind": "number"}]}
    panels = [*profile.pop("panels"), *profile_series(climate())["panels"]]
    assert {panel["kind"] for panel in panels} == {"balance", "histogram", "line"}
    drawn = profile_picture(panels)
    assert drawn["png"].startswith(b"\x89PNG")
    assert b"held out" in drawn["svg"]
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    section = profile_section(tmp_path)
    assert section is not None
    assert "&lt;b&gt;" in section.html
    assert "<b>" not in section.html
    assert "<i>" not in section.html
