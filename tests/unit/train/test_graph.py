import json

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.datasets.prepare import PreparationOptions, fit_preparation
from modelyard.datasets.table import Column, Table
from modelyard.train.families import FAMILIES
from modelyard.train.graph import build_graph
from modelyard.train.model import fit_model, prepare_rows, shape_of
from modelyard.train.proof import feed, open_graph


def graph_of(problem, family="tree", options=None):
    prepared = prepare_rows(problem, options or PreparationOptions(), problem.train)
    trainer = FAMILIES.get(family)
    shape = shape_of(problem, *prepared.features.shape, 1)
    model = fit_model(trainer, trainer.candidates(shape)[0], shape, prepared)
    return model, build_graph(model, problem, family, [{"name": "x"}])


def answers(graph, table):
    session = open_graph(graph.SerializeToString())
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, feed(table)), strict=True))


def test_inputs_are_the_raw_columns_and_outputs_have_fixed_names(problem_of):
    _, graph = graph_of(problem_of(target="species"))
    inputs = {value.name: value.type.tensor_type for value in graph.graph.input}
    assert inputs["sex"].elem_type == onnx.TensorProto.STRING
    assert inputs["year"].elem_type == onnx.TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in inputs["sex"].shape.dim] == ["rows", 1]
    outputs = {value.name: value.type.tensor_type for value in graph.graph.output}
    assert list(outputs) == ["label", "probabilities"]
    assert outputs["label"].elem_type == onnx.TensorProto.STRING
    assert [dim.dim_param or dim.dim_value for dim in outputs["probabilities"].shape.dim] == ["rows", 3]


def test_metadata_tells_classes_columns_and_task(problem_of):
    _, graph = graph_of(problem_of(target="species"))
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(facts["modelyard.classes"]) == ["Adelie", "Chinstrap", "Gentoo"]
    assert json.loads(facts["modelyard.columns"]) == [{"name": "x"}]
    assert facts["modelyard.task"] == "classification"


def test_whole_number_classes_come_back_as_int64(problem_of):
    problem = problem_of(target="year")
    labels = answers(graph_of(problem)[1], problem.features)["label"]
    assert labels.dtype == np.int64
    assert set(labels) <= {2007, 2008, 2009}


def test_quantities_come_back_in_their_own_scale(problem_of):
    problem = problem_of(target="body_mass_g")
    model, graph = graph_of(problem, "ridge")
    got = answers(graph, problem.features)["prediction"]
    assert got.shape == (len(problem.features), 1)
    np.testing.assert_allclose(got[:, 0], model.predict(problem.features), rtol=1e-5)


@pytest.mark.parametrize(
    "options", [PreparationOptions(missing_category="most_frequent"), PreparationOptions(max_categories=1, scaling="minmax")]
)
def test_every_way_to_prepare_is_in_the_graph(problem_of, options):
    problem = problem_of(target="species", families=["logistic"])
    model, graph = graph_of(problem, "logistic", options)
    np.testing.assert_allclose(answers(graph, problem.features)["probabilities"], model.predict(problem.features), atol=1e-5)


def test_no_rows_give_no_answers(problem_of):
    problem = problem_of(target="species")
    nothing = problem.features.take(np.empty(0, np.intp))
    for family in ("svm", "tree", "knn", "mlp"):
        assert answers(graph_of(problem, family)[1], nothing)["probabilities"].shape == (0, 3)


@pytest.mark.parametrize("family", ["mlp", "knn", "svm"])
def test_columns_may_be_called_like_anything_inside(problem_of, write, numbers, family):
    names = ["features", "variable", "modelyard.model.features", "a b/c:ä", "0"]
    columns = {name: np.roll(numbers, at) for at, name in enumerate(names)}
    problem = problem_of(write(columns | {"y": ["a", "b"] * 20}), target="y")
    model, graph = graph_of(problem, family)
    np.testing.assert_allclose(answers(graph, problem.features)["probabilities"], model.predict(problem.features), atol=1e-5)


def test_equal_trainings_give_equal_bytes(problem_of):
    for family in FAMILIES:
        target = "species" if family in {"logistic", "svm", "boosting", "mlp", "knn", "forest", "tree"} else "body_mass_g"
        first, second = (graph_of(problem_of(target=target), family)[1].SerializeToString(deterministic=True) for _ in range(2))
        assert first == second, family


_PROBLEMS = {}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["", "male", "female", "other", " male", "ä"]), min_size=1, max_size=6),
    numbers=st.lists(st.floats(width=32, allow_infinity=False), min_size=6, max_size=6),
)
def test_any_row_is_prepared_alike_by_numpy_and_by_the_graph(problem_of, words, numbers):
    if not _PROBLEMS:
        problem = problem_of(target="species", features={"include": ["sex", "bill_length_mm"]})
        _PROBLEMS["one"] = (
            fit_preparation(problem.features, PreparationOptions()),
            open_graph(graph_of(problem)[1].SerializeToString()),
            graph_of(problem)[0],
        )
    preparation, session, model = _PROBLEMS["one"]
    distinct = tuple(sorted({word for word in words if word}))
    codes = np.array([distinct.index(word) if word else -1 for word in words], np.int32)
    order = [Column("bill_length_mm", np.array(numbers[: len(words)], np.float64)), Column("sex", codes, distinct)]
    table = Table(tuple(order))
    del preparation
    got = session.run(["probabilities"], feed(table))[0]
    np.testing.assert_allclose(got, model.predict(table), atol=1e-6)
