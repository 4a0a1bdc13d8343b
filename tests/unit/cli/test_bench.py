import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.bench import _row, quantile
from modelyard.cli.bench_load import LoadResult
from modelyard.cli.bench_picture import Point, picture

TIMES = st.floats(0.001, 1e5)


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 1e6), TIMES, TIMES), max_size=8), st.text(max_size=20))
def test_the_picture_is_svg_whatever_was_measured(measured, title):
    text = picture("".join(c for c in title if c.isprintable()), [Point(*each) for each in measured])
    root = ET.fromstring(text)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * len(measured)
    assert all(0 <= float(circle.get(name)) <= 720 for circle in circles for name in ("cx", "cy"))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_a_measured_value_that_enough_do_not_exceed(values, share):
    ordered = np.sort(np.array(values))
    found = quantile(ordered, share)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))


def test_a_row_tells_rates_and_quantiles():
    row = _row(4, LoadResult(seconds=2.0, durations_us=[1000] * 98 + [5000, 9000], refused=3))
    assert (row["per_second"], row["p50_ms"], row["p99_ms"], row["max_ms"], row["refused"]) == (50.0, 1.0, 5.0, 9.0, 3)
    assert _row(1, LoadResult())["p50_ms"] == pytest.approx(0.0)
