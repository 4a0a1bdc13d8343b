import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn import metrics as sk

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
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, probabilities), rel=1e-6)


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


@settings(max_examples=40)
@given(some.integers(2, 5), some.integers(2, 40), some.integers(0, 2**32 - 1))
def test_classifiers_are_measured_as_scikit_learn_does(classes, rows, seed):
    random = np.random.default_rng(seed)
    codes = random.integers(0, random.integers(1, classes + 1), rows)
    shares = np.round(random.dirichlet(np.ones(classes), rows), 1) + 0.05  # coarse, so that some are equal
    shares /= shares.sum(axis=1, keepdims=True)
    found, chosen = classification_metrics(codes, shares), shares.argmax(axis=1)
    wanted = {
        "accuracy": sk.accuracy_score(codes, chosen),
        "precision_macro": sk.precision_score(codes, chosen, average="macro", zero_division=0),
        "recall_macro": sk.recall_score(codes, chosen, average="macro", zero_division=0),
        "f1_macro": sk.f1_score(codes, chosen, average="macro", zero_division=0),
        "f1_weighted": sk.f1_score(codes, chosen, average="weighted", zero_division=0),
        "log_loss": sk.log_loss(codes, shares, labels=np.arange(classes)),
    }
    seen = np.unique(codes)
    if len(seen) > 1:
        ranked = (1,) if classes == 2 else seen
        wanted["roc_auc"] = np.mean([sk.roc_auc_score(codes == code, shares[:, code]) for code in ranked])
    assert found == pytest.approx(wanted, rel=1e-9)
    np.testing.assert_array_equal(confusion(codes, chosen, classes), sk.confusion_matrix(codes, chosen, labels=np.arange(classes)))
    each = sk.precision_recall_fscore_support(codes, chosen, labels=np.arange(classes), zero_division=0)
    names = ("precision", "recall", "f1", "support")
    np.testing.assert_allclose([[row[name] for row in per_class(codes, chosen, tuple("abcde"[:classes]))] for name in names], each)


@settings(max_examples=40)
@given(some.integers(2, 40), some.integers(0, 2**32 - 1), some.sampled_from([0.0, 1.0]), some.sampled_from([0.0, 1.0]))
def test_regressors_are_measured_as_scikit_learn_does(rows, seed, spread, error):
    random = np.random.default_rng(seed)
    values = 3.0 + spread * random.normal(size=rows)
    guessed = values + error * random.normal(size=rows)
    wanted = {
        "r2": sk.r2_score(values, guessed),
        "rmse": sk.root_mean_squared_error(values, guessed),
        "mae": sk.mean_absolute_error(values, guessed),
    }
    assert regression_metrics(values, guessed) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert regression_metrics(values[:, None], guessed) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
