import numpy as np
import pytest

from modelyard.core.errors import InvalidData
from modelyard.datasets.builders import encode
from modelyard.datasets.profile import profile_table
from modelyard.datasets.schema import Kind, infer_schema
from modelyard.datasets.table import Column, Table


def text(name, words):
    distinct = sorted(set(words))
    return encode(name, np.array([distinct.index(word) for word in words], np.int32), distinct, frozenset({""}))


def number(name, values):
    return Column(name, np.array(values, np.float64))


def field_of(column, **kinds):
    table = Table((column,))
    return infer_schema(table, profile_table(table), kinds)[column.name]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (number("x", [1, 2, 2]), Kind.NUMBER),
        (number("x", range(100, 150)), Kind.IDENTIFIER),
        (number("customer_id", np.arange(30) * 7), Kind.IDENTIFIER),
        (number("customer_id", [1, 1, 2] * 10), Kind.NUMBER),
        (number("x", np.arange(30) * 0.5), Kind.NUMBER),
        (text("x", ["a", "b", "a"]), Kind.CATEGORY),
        (text("x", ["True", "False", "True"]), Kind.BOOLEAN),
        (text("x", ["yes", "no", "yes"]), Kind.BOOLEAN),
        (text("x", ["2024-01-02", "2024-01-03T10:00:00Z", "2024-01-02"]), Kind.DATE),
        (text("x", ["1.2.2024", "31.12.2024", "1.2.2024"]), Kind.DATE),
        (text("x", [f"A{at}" for at in range(30)]), Kind.IDENTIFIER),
        (text("x", [f"word {at}" for at in range(30)]), Kind.TEXT),
        (text("x", [f"w{at // 3 * 2}" for at in range(90)] + [f"v{at}" for at in range(60)]), Kind.TEXT),
        (text("x", ["long words " * 10, "b", "b"] * 3), Kind.CATEGORY),
        (text("x", ["long words " * 20, "long words " * 19]), Kind.TEXT),
    ],
)
def test_a_columns_meaning_is_inferred(column, kind):
    field = field_of(column)
    assert field.kind is kind
    assert field.usable == (kind in {Kind.NUMBER, Kind.CATEGORY, Kind.BOOLEAN})


def test_a_constant_column_is_no_feature():
    assert "is 3 in every row" in field_of(number("x", [3, 3, 3])).reason


def test_a_constant_with_gaps_can_tell_something():
    assert field_of(number("x", [3, np.nan, 3])).usable


def test_the_owners_word_wins():
    assert field_of(text("x", [f"A{at}" for at in range(30)]), x=Kind.CATEGORY).usable
    assert not field_of(number("x", [1, 2, 2]), x=Kind.IDENTIFIER).usable


def test_text_cannot_be_called_a_number():
    with pytest.raises(InvalidData, match="'x' is a number, but it holds text"):
        field_of(text("x", ["a", "b"]), x=Kind.NUMBER)


def test_a_word_on_an_unknown_column_suggests_the_nearest():
    with pytest.raises(InvalidData, match="Did you mean 'height'"):
        field_of(number("height", [1, 2]), heigth=Kind.NUMBER)
