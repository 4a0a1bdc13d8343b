import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.datasets.schema import Kind
from modelyard.train.families import FAMILIES
from modelyard.train.recipes.parse import parse_recipe
from modelyard.train.recipes.table import TableRecipe

EXAMPLES = Path(__file__).parents[3] / "examples/recipes"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid_and_name_known_families(path):
    recipe = parse_recipe(path.read_text())
    assert set(getattr(recipe, "families", None) or ()) <= set(FAMILIES.names())


def test_a_target_is_enough():
    assert parse_recipe("target: species").test_size == 0.2


def test_what_is_written_reads_back_equal():
    recipe = parse_recipe({"target": "y", "types": {"zip": "category"}, "folds": 3, "reading": {"missing": ["x"]}})
    assert parse_recipe(recipe.to_yaml()) == recipe
    assert "seed" not in recipe.to_yaml()


def test_columns_that_are_no_numbers_are_read_as_text():
    options = parse_recipe({"target": "y", "types": {"zip": "category", "n": "number", "code": "identifier"}}).read_options()
    assert options.texts == {"zip", "code"}
    assert TableRecipe(target="y", types={"a": Kind.NUMBER}).read_options().texts == frozenset()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "mapping of fields"),
        ("- a", "mapping of fields"),
        ("a: [", "no valid YAML"),
        ("seed: 1", "lacks the field 'target'"),
        ("{target: y, fold: 3}", "unknown field 'fold'.* Did you mean 'folds'"),
        ("{target: y, features: {exclud: [a]}}", "unknown field 'features.exclud'.* Did you mean 'exclude'"),
        ("{target: y, budget: {second: 3}}", "unknown field 'budget.second'.* Did you mean 'seconds'"),
        ("{target: y, folds: 1}", "'folds' cannot be '1'"),
        ("{target: y, test_size: 0.9}", "'test_size' cannot be '0.9'"),
        ("{target: y, name: Bad Name}", "'name' cannot be 'Bad Name': use 1 to 63"),
        ("{target: y, families: []}", "at least one family"),
        ("{target: y, metric: beauty}", "'metric.*' cannot be 'beauty'"),
        ("{target: y, types: {a: colour}}", "'types.a' cannot be 'colour'"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_sentence(source, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        parse_recipe(source)
    assert "\n" not in caught.value.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TableRecipe.model_fields, "x"]), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_plain_data_is_a_recipe_or_refused(source):
    with suppress(InvalidRequest):
        parse_recipe(source)


def test_the_schema_tells_every_field():
    schema = TableRecipe.model_json_schema()
    json.dumps(schema)
    assert all("description" in field or "$ref" in field or "allOf" in field for field in schema["properties"].values())
    assert schema["additionalProperties"] is False
