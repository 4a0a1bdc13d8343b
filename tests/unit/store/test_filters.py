import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.store.filters import MetricFilter, check_field


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("accuracy>0.9", MetricFilter("accuracy", ">", 0.9)),
        (" rmse <= 3 ", MetricFilter("rmse", "<=", 3.0)),
        ("f1 macro==1e-3", MetricFilter("f1 macro", "=", 0.001)),
        ("a!=-1", MetricFilter("a", "!=", -1.0)),
    ],
)
def test_comparisons_are_read(text, wanted):
    assert MetricFilter.parse(text) == wanted


@pytest.mark.parametrize("text", ["", "accuracy", ">0.9", "accuracy>", "accuracy>high", "a>1.2.3", "a>nan", "a;b>1", 'a"b>1', "a>1>2"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidRequest):
        MetricFilter.parse(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader(text):
    try:
        found = MetricFilter.parse(text)
    except InvalidRequest:
        return
    assert check_field(found.name, "metric") == found.name
    assert not math.isnan(found.value)
