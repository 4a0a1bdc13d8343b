"""The family ``network``: PyTorch on tables, with every loss, and a graph that answers the same."""

import numpy as np
import onnxruntime as ort
import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.train.families import FAMILIES, ON_REQUEST
from modelyard.train.problem import Task
from modelyard.train.recipes.parse import parse_table_recipe
from modelyard.train.search import Search
from modelyard.train.trainers.base import Shape

QUICK = {"hidden": [16], "learning": {"epochs": 15, "batch_size": 32, "optimizer": {"learning_rate": 0.02}}}


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 3)).astype(np.float32)
    return features, features @ [1.0, -2.0, 0.5] + random.normal(size=300) * 0.1


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        (Task.CLASSIFICATION, "cross_entropy"),
        (Task.CLASSIFICATION, "binary"),
        (Task.REGRESSION, "mse"),
        (Task.REGRESSION, "mae"),
        (Task.REGRESSION, "huber"),
    ],
)
def test_every_loss_is_learned_and_becomes_a_graph(rows, task, loss):
    features, quantity = rows
    classes = task is Task.CLASSIFICATION
    target = (quantity > 0).astype(np.int64) if classes else quantity / quantity.std()
    shape = Shape(task, 300, 3, 2 if classes else 0, 1)
    weights = {"class_weights": "balanced"} if classes else {}
    fitted = FAMILIES.get("network").fit(QUICK | weights | {"loss": loss}, shape, features, target)
    found = fitted.predict(features)
    if classes:
        assert found.shape == (300, 2)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
        assert (found.argmax(axis=1) == target).mean() > 0.9
    else:
        assert np.abs(found - target).mean() < 0.35
    graph, output = fitted.graph()
    (answered,) = ort.InferenceSession(graph.SerializeToString()).run([output], {"features": features})
    np.testing.assert_allclose(answered.reshape(found.shape), found, atol=1e-5)
    again = FAMILIES.get("network").fit(QUICK | weights | {"loss": loss}, shape, features, target)
    np.testing.assert_array_equal(again.predict(features), found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, "does not suit classification; use one of cross_entropy, binary"),
        ({"loss": "binary"}, "for two classes, and the target has 3"),
        ({"hiden": [3]}, "'hiden' of the family 'network'"),
        ({"learning": {"epochs": 0}}, r"'learning\.epochs'"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(settings, message):
    with pytest.raises(InvalidRequest, match=message):
        FAMILIES.get("network").check(settings, Shape(Task.CLASSIFICATION, 10, 2, 3, 0))


def test_recipes_set_what_is_not_to_be_searched(problem_of):
    recipe = {"target": "species", "families": ["tree"], "settings": {"tree": {"max_depth": 2}}, "folds": 2}
    (standing,) = Search(problem_of(**recipe), parse_table_recipe(recipe), lambda *_: None).run()
    assert standing.settings["max_depth"] == 2
    for settings, message in (
        ({"tree": {"max_dept": 2}}, "no setting 'max_dept'.*'max_depth'"),
        ({"forest": {}}, "'forest', which is not tried"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            Search(problem_of(**recipe), parse_table_recipe(recipe | {"settings": settings}), lambda *_: None).run()


def test_networks_are_tried_only_when_named(problem_of):
    recipe = {"target": "species"}
    assert "network" in ON_REQUEST
    assert "network" not in Search(problem_of(**recipe), parse_table_recipe(recipe), lambda *_: None)._trainers()
