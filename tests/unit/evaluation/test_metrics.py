import numpy as np
import pytest
from sklearn.metrics import log_loss as sk_log_loss

from modelyard.evaluation.metrics import (
    HIGHER_IS_BETTER,
    classification_metrics,
    confusion,
    language_metrics,
    per_class,
    regression_metrics,
)

truth = np.array([0, 0, 1, 1])
probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])


def test_a_classifiers_measures_are_those_of_the_textbook():
    found = classification_metrics(truth, probabilities)
    assert found["accuracy"] == 0.75
    assert found["recall_macro"] == 0.75
    assert found["precision_macro"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["roc_auc"] == 1.0
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert found["log_loss"] == pytest.approx(sk_log_loss(truth, probabilities), rel=1e-6)


def test_many_classes_average_one_against_the_rest():
    codes = np.array([0, 1, 2, 0, 1, 2])
    assert classification_metrics(codes, np.eye(3)[codes])["roc_auc"] == 1.0


def test_a_measure_that_one_class_cannot_give_is_left_out():
    found = classification_metrics(np.zeros(3, int), np.array([[0.9, 0.1]] * 3))
    assert "roc_auc" not in found
    assert found["accuracy"] == 1.0


def test_a_certain_error_costs_a_finite_loss():
    assert np.isfinite(classification_metrics(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))["log_loss"])


def test_a_regressors_measures_are_those_of_the_textbook():
    found = regression_metrics(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0]))
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert found["r2"] == pytest.approx(-1.0)


def test_every_measure_has_a_direction():
    made = {**classification_metrics(truth, probabilities), **regression_metrics(np.array([1.0, 2.0]), np.array([1.0, 2.0]))}
    made |= language_metrics(1.0, 2.0)
    assert set(made) == set(HIGHER_IS_BETTER)


def test_each_class_is_counted_and_measured():
    chosen = np.array([0, 1, 1, 1])
    assert confusion(truth, chosen, 3).tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    rows = per_class(truth, chosen, ("a", "b", "c"))
    assert rows[0] == {"class": "a", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert rows[2]["support"] == 0
