import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from modelyard.core.errors import JobFailed, Unsupported
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.loop import _cut
from modelyard.train.networks.objectives import Classes, class_weights
from modelyard.train.networks.stepping import learning_rate
from modelyard.train.recipes.learning import Learning


def quiet(*_):
    """A report that nobody reads."""


def losses(fit):
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in fit.history]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("stop", [3, 8, 20])
def test_a_training_that_goes_on_gives_the_very_losses_of_one_that_was_never_stopped(points, learner, kind, stop):
    wanted = {"optimizer": {"kind": kind, "l1": 1e-4}, "schedule": {"kind": "cosine"}}
    whole = learner("whole", **wanted)
    undisturbed = whole.fit(points, points, quiet)
    points.asked, points.stop_after = 0, stop
    with pytest.raises(KeyboardInterrupt):
        learner("torn", **wanted).fit(points, points, quiet)
    points.stop_after = None
    resumed = learner("torn", **wanted)
    fit = resumed.fit(points, points, quiet)
    assert losses(fit) == losses(undisturbed)
    assert fit.resumed_at == stop // 8
    for name, weight in whole.module.state_dict().items():
        assert torch.equal(weight, resumed.module.state_dict()[name])


def test_the_loss_falls_and_the_best_epoch_is_kept(points, learner):
    made = learner(epochs=12, optimizer={"learning_rate": 0.02})
    fit = made.fit(points, points, quiet)
    assert fit.history[-1]["loss"] < fit.history[0]["loss"] / 1.5
    best = min(fit.history, key=lambda entry: entry["validation_loss"])
    assert fit.best_epoch == best["epoch"]
    assert made.judge(points)["validation_loss"] == pytest.approx(best["validation_loss"])


def test_training_stops_when_nothing_gets_better(points, learner):
    fit = learner(epochs=200, patience=2, optimizer={"learning_rate": 0.05}, dropout=0.0).fit(points, points, quiet)
    assert fit.stopped_early
    assert len(fit.history) == fit.best_epoch + 2


def test_a_loss_that_is_no_number_ends_the_job_with_advice_and_the_last_good_checkpoint(points, learner, tmp_path):
    made = learner(clip=None, optimizer={"kind": "sgd", "learning_rate": 0.1})
    healthy = points.batch

    def poisoned(rows, random):
        inputs, targets = healthy(rows, random)
        return ((inputs[0] * math.nan if made._progress.epoch == 2 else inputs[0]),), targets

    points.batch = poisoned
    with pytest.raises(JobFailed, match=r"loss became nan in step 1 of epoch 3.*learning_rate.*resume the job"):
        made.fit(points, points, quiet)
    state = Checkpoints(tmp_path / "state", "f", 0).load()
    assert state["progress"]["epoch"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["module"].values())
    points.batch = healthy
    fit = learner(clip=None, optimizer={"kind": "sgd", "learning_rate": 0.01}).fit(points, points, quiet)
    assert fit.resumed_at == 2
    assert len(fit.history) == 5


@pytest.mark.parametrize("sizes", [(16, 1), (4, 4), (8, 2)])
def test_accumulated_batches_make_the_step_of_one_large_batch(points, learner, sizes):
    batch, times = sizes
    points.batch = lambda rows, random: ((points.points[torch.from_numpy(rows)],), points.labels[torch.from_numpy(rows)])
    made = learner(f"a{batch}", batch_size=batch, accumulation=times, dropout=0.0, epochs=2)
    whole = learner("b", batch_size=16, dropout=0.0, epochs=2, seconds=1e9)
    for fit, other in zip(made.fit(points, points, quiet).history, whole.fit(points, points, quiet).history, strict=True):
        assert fit["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_half_precision_learns_too_and_float16_wants_a_gpu(points, learner):
    fit = learner(precision="bfloat16", epochs=8).fit(points, points, quiet)
    assert fit.history[-1]["loss"] < fit.history[0]["loss"]
    if not torch.cuda.is_available():
        with pytest.raises(Unsupported, match="float16 needs a GPU"):
            learner(precision="float16")


def test_l1_makes_weights_smaller(points, learner):
    sizes = []
    for l1 in (0.0, 0.2):
        made = learner(f"l{l1}", epochs=10, clip=None, optimizer={"l1": l1, "l2": 0.0, "learning_rate": 0.01})
        made.fit(points, points, quiet)
        sizes.append(sum(float(weight.detach().abs().sum()) for weight in made.module.parameters() if weight.ndim > 1))
    assert sizes[1] < 0.8 * sizes[0]


def test_weights_of_classes_count_a_row_once_in_the_mean():
    weights = class_weights([90, 10], None)
    assert weights.tolist() == pytest.approx([0.5 / 0.9, 0.5 / 0.1])
    assert float((weights * torch.tensor([90.0, 10.0])).sum()) == pytest.approx(100)
    outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    plain, weighted = (Classes(chosen).losses(outputs, targets) for chosen in (None, torch.tensor([3.0, 1.0])))
    assert torch.allclose(weighted, plain * 3)
    assert Classes(smoothing=0.1).losses(outputs, targets)[0] > plain[0]


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [("constant", 0.1, 0.1), ("linear", 0.1, 0.0), ("cosine", 0.1, 0.0), ("step", 0.1, 0.001)],
)
def test_schedules_rise_once_and_end_where_they_should(schedule, start, end):
    recipe = {"epochs": 20, "optimizer": {"learning_rate": 0.1}, "schedule": {"kind": schedule, "warmup": 0.1, "every": 8, "factor": 0.1}}
    rates = [learning_rate(Learning.model_validate(recipe), step, 10) for step in range(200)]
    assert all(earlier < later for earlier, later in pairwise(rates[:20]))
    assert rates[20] == pytest.approx(start)
    assert rates[-1] == pytest.approx(end, abs=2e-3 if schedule != "step" else 1e-9)


@pytest.mark.parametrize(("count", "size", "parts"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 4, [3]), (3, 1, [1, 1, 1]), (1, 4, [1])])
def test_no_last_batch_is_a_single_row(count, size, parts):
    assert [len(part) for part in _cut(np.arange(count), size)] == parts


def test_no_last_batch_leaves_a_worker_with_a_single_row():
    assert [len(part) for part in _cut(np.arange(11), 8, 4)] == [11]
    assert [len(part) for part in _cut(np.arange(12), 8, 4)] == [8, 4]


@pytest.mark.parametrize(("norms", "batch", "shared"), [("auto", 31, True), ("auto", 32, False), ("shared", 512, True), ("own", 2, False)])
def test_norms_are_shared_where_a_worker_sees_few_rows(norms, batch, shared):
    assert Learning.model_validate({"norms": norms, "batch_size": batch}).shares_norms == shared
