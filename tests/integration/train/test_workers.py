"""Several processes that learn one network: what they make is what one process makes of batches that are as large together."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from modelyard.core.errors import JobFailed, Unsupported
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.distributed.order import Order, pack_order, read_order, unpack_order, write_order
from modelyard.train.networks.lesson import Lesson, Site, learn
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Classes
from modelyard.train.networks.series_data import pose_series, scaling_for
from modelyard.train.networks.series_job import lesson_for as series_lesson_for
from modelyard.train.networks.text_data import learn_tokens, pose_texts
from modelyard.train.networks.text_job import lesson_for as text_lesson_for
from modelyard.train.problem import Task
from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.parse import parse_series_recipe, parse_text_recipe
from modelyard.train.trainers.base import Shape
from modelyard.train.trainers.network import TRAINER
from points import Fatal, Points, Poisoned
from series import CLIMATE, FORECAST
from workers import same, train_points

pytestmark = pytest.mark.timeout(300)
NOVELS = CLIMATE.with_name("novels.csv")


@pytest.fixture
def trained(tmp_path):
    return lambda name, train, **wanted: train_points(tmp_path / name, train, **wanted)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_two_workers_end_as_one_process_with_twice_the_batch_also_when_one_is_killed(trained, tmp_path, sharded):
    """Killed where it is harder to go on: with shares of the network. That it goes on with the whole one is shown on the platform."""
    wanted = {"accumulation": 2, "optimizer": {"l1": 1e-3}}
    alone, calm, _ = trained("alone", Points(101, shaking=0), batch_size=16, **wanted)
    fatal = Fatal(tmp_path / "mark", at=10, times=int(sharded), count=101, shaking=0)
    together, fit, told = trained("two", fatal, batch_size=8, workers=2, sharded=sharded, norms="shared", **wanted)
    assert fatal.mark.exists() == sharded, "worker 1 was killed in the middle of an epoch"
    assert fit.resumed_at == int(sharded)
    same(together, alone, rtol=1e-4, atol=1e-5)
    for entry, other in zip(fit.history, calm.history, strict=True):
        for name in ("loss", "validation_loss", "validation_accuracy", "learning_rate"):
            assert entry[name] == pytest.approx(other[name], rel=1e-4), name
    assert told[-1][0] == 1.0
    assert "epoch 3 of 3" in told[-1][1]


def test_two_workers_with_norms_of_their_own_end_as_one_process_with_twice_the_accumulation(trained):
    alone, calm, _ = trained("alone", Points(96, shaking=0), batch_size=8, accumulation=2)
    together, fit, _ = trained("two", Points(96, shaking=0), batch_size=8, workers=2, norms="own")
    for (name, weight), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert [entry["loss"] for entry in fit.history] == pytest.approx([entry["loss"] for entry in calm.history], rel=1e-4)
    # What norms remember is one thing for all: the module that comes home is judged as the workers judged theirs together.
    best = fit.history[fit.best_epoch - 1]
    assert Learner(together, Classes(), Learning(), choose_device("auto"), None, seed=0).judge(Points(50, seed=1)) == pytest.approx(
        {name: best[name] for name in ("validation_loss", "validation_accuracy")}, rel=1e-5
    )


def text_lesson(kind):
    wanted = {"network": {"kind": kind, "width": 8, "pairs": 512, "dropout": 0}, "tokens": {"vocabulary": 500, "longest": 16}}
    recipe = parse_text_recipe({"kind": "text", "target": "novel"} | wanted)
    problem = pose_texts(NOVELS, NOVELS.name, recipe)
    return text_lesson_for(problem, recipe, learn_tokens(problem.of(problem.train), recipe.tokens))


def series_lesson():
    wanted = {"network": {"kind": "gru", "width": 8, "dropout": 0}, "stride": 6}
    problem = pose_series(CLIMATE, CLIMATE.name, parse_series_recipe(FORECAST | wanted))
    return series_lesson_for(problem, scaling_for(problem))


@pytest.mark.parametrize("made", [partial(text_lesson, "bag"), partial(text_lesson, "gru"), series_lesson], ids=["bag", "gru", "series"])
def test_texts_and_series_are_learned_by_two_as_by_one_with_twice_the_batch(made, tmp_path):
    found = []
    for workers in (1, 2):
        learning = Learning.model_validate({"epochs": 1, "batch_size": 128 // workers, "workers": workers})
        lesson, place = made(), tmp_path / str(workers)
        checkpoints = Checkpoints(place / "state", "f", 60)
        fit = learn(lesson, learning, choose_device("auto"), checkpoints, site=Site(place / "team"), report=lambda *_: None)
        found.append((lesson.module, fit.history[0]))
    (alone, calm), (together, history) = found
    same(together, alone, rtol=1e-3, atol=1e-5)
    assert history["validation_loss"] == pytest.approx(calm["validation_loss"], rel=1e-4)


def test_a_tables_network_is_learned_by_two_as_by_one_with_twice_the_batch():
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 3)).astype(np.float32)
    target = (features[:, 0] > 0).astype(np.int64)
    shape = Shape(Task.CLASSIFICATION, 120, 3, 2, seed=0)
    settings = {"hidden": [8], "dropout": 0, "learning": {"epochs": 2}}
    fits = [
        TRAINER.fit(settings | {"learning": {"epochs": 2, "batch_size": 32 // workers, "workers": workers}}, shape, features, target)
        for workers in (1, 2)
    ]
    np.testing.assert_allclose(fits[1].predict(features), fits[0].predict(features), rtol=1e-4, atol=1e-6)


def test_a_worker_that_dies_more_often_than_allowed_ends_the_training_with_a_sentence_and_leaves_its_checkpoint(trained, tmp_path):
    with pytest.raises(JobFailed, match=r"Worker 1 of 2 .* was killed by SIGKILL, .*memory.*; the last checkpoint"):
        trained("torn", Fatal(tmp_path / "mark", at=5, times=9, count=101), batch_size=8, workers=2, restarts=0)
    assert Checkpoints(tmp_path / "torn/state", "f", 0).load() is not None


def test_a_loss_that_is_no_number_is_not_tried_again(trained):
    with pytest.raises(JobFailed, match="The loss became nan in step 5 of epoch 1"):
        trained("wild", Poisoned(101), batch_size=8, workers=2)


def test_ray_is_asked_for_by_name_where_it_is_missing(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for module in ("engines.ray_cluster", "train.networks.distributed.ray_post", "train.networks.distributed.ray_start"):
        monkeypatch.delitem(sys.modules, f"modelyard.{module}", raising=False)
    with pytest.raises(
        Unsupported, match=r"The engine ray needs the Python package 'ray.*'; install it with: pip install 'modelyard\[ray\]'"
    ):
        trained("none", Points(101), batch_size=8, workers=2, engine="ray")


def test_arrays_of_a_file_are_named_in_the_order_and_copied_for_other_machines(tmp_path):
    whole = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=(5000, 100))
    whole[:] = np.arange(500_000, dtype=np.uint32).reshape(5000, 100) % 251
    whole.flush()
    points = Points(10)
    points.mapped = whole[1234:4000]
    lesson = Lesson(nn.Linear(4, 2), Classes(), points, points, seed=0)
    order = Order(lesson, Learning(), Checkpoints(tmp_path / "state", "f", 1), 1)
    write_order(order, tmp_path / "order")
    assert (tmp_path / "order").stat().st_size < 20_000
    np.testing.assert_array_equal(read_order(tmp_path / "order").lesson.train.mapped, whole[1234:4000])
    parcel = pack_order(order)
    assert len(parcel.head) < 20_000
    (tmp_path / "a.npy").unlink()
    np.testing.assert_array_equal(unpack_order(parcel).lesson.train.mapped, whole[1234:4000])
