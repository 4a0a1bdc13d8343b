import numpy as np
import pytest

from modelyard.evaluation.metrics import classification_metrics, regression_metrics
from modelyard.train.problem import Task
from modelyard.train.slicing import slice_metric, slice_score

RANDOM = np.random.default_rng(0)
ROWS = np.array([3, 3, 7, 11, 40])


@pytest.mark.parametrize("wanted", ["accuracy", "f1_macro", "log_loss"])
def test_slices_of_classes_are_worth_what_the_metric_says(wanted):
    truth, predicted = RANDOM.integers(0, 3, 50), RANDOM.dirichlet(np.ones(3), 50)
    metric = slice_metric(Task.CLASSIFICATION, wanted)
    assert slice_score(metric, truth, predicted)(ROWS) == pytest.approx(
        classification_metrics(truth[ROWS], predicted[ROWS], [metric])[metric]
    )


@pytest.mark.parametrize("wanted", ["rmse", "mae", "r2"])
@pytest.mark.parametrize("shape", [(50,), (50, 4)], ids=["values", "steps"])
def test_slices_of_quantities_are_worth_what_the_metric_says(wanted, shape):
    truth, predicted = RANDOM.normal(size=shape), RANDOM.normal(size=shape)
    metric = slice_metric(Task.REGRESSION, wanted)
    found = regression_metrics(truth[ROWS].reshape(-1), predicted[ROWS].reshape(-1), [metric])
    assert slice_score(metric, truth, predicted)(ROWS) == pytest.approx(found[metric])
