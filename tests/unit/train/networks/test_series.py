"""Trainings on series in this process: from the file to the graph that is served."""

import csv
import json

import numpy as np
import onnxruntime as ort
import pytest
import torch

from job_context import JobContext, quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.evaluation.forecasts import seasonal_naive
from modelyard.optimize.held_out import HeldOut
from modelyard.train.job import run
from modelyard.train.networks.architectures.series import SeriesNet
from modelyard.train.networks.objectives import Quantities
from modelyard.train.networks.series_data import pose_series, scaling_for
from modelyard.train.networks.series_graph import build_series_graph, prove_series
from modelyard.train.networks.series_scaling import Forecaster
from modelyard.train.recipes.parse import parse_recipe, parse_series_recipe
from modelyard.train.tuning.trials import open_judge
from series import CLIMATE, FORECAST, write_machines, write_shop

pytestmark = pytest.mark.timeout(300)


class Trained(JobContext):
    def infer(self, outputs, **inputs):
        return ort.InferenceSession(self.folder / "output/artifact/model.onnx").run(outputs, inputs)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    def _train(path, recipe):
        context = Trained({"recipe": recipe, "dataset": {"filename": path.name}}, tmp_path_factory.mktemp("job"), {"data": path})
        context.result = run(context)
        return context

    return _train


def held_out(done):
    return list(csv.DictReader((done.attachments / "held_out.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def climate(train):
    return train(CLIMATE, FORECAST)


def test_a_forecast_is_measured_beside_what_costs_nothing(climate):
    report, metrics = climate.result["report"], climate.result["metrics"]
    evaluation = report["evaluation"]
    assert set(metrics) == {"mae", "rmse", "mase"}
    methods = {row["method"]: row for row in evaluation["baselines"]}
    assert set(methods) == {"naive", "seasonal naive", "linear"}
    assert metrics["mae"] < methods["naive"]["mae"]
    assert evaluation["improvement"]["over"] in methods
    assert evaluation["improvement"]["low"] <= evaluation["improvement"]["value"] <= evaluation["improvement"]["high"]
    for name, ends in evaluation["intervals"].items():
        assert ends["low"] <= metrics[name] <= ends["high"]
    parts = evaluation["slices"]
    assert {entry["column"] for entry in parts["slices"]} >= {"value, last of the window", "value, deviation in the window", "group"}
    assert parts["slices"][0]["score"] > metrics["mae"], "the worst first"
    assert report["proof"]["holds"]
    assert report["embargo"] == report["horizon"] == 6
    assert all((climate.attachments / f"{name}.png").stat().st_size for name in report["plots"])


def test_the_seasonal_forecast_of_the_report_is_the_textbooks(climate):
    problem = pose_series(CLIMATE, "climate.csv", parse_series_recipe(FORECAST))
    test = problem.windows.test
    errors = np.abs(seasonal_naive(problem.history(test), 6, 12) - problem.future(test))
    told = next(row for row in climate.result["report"]["evaluation"]["baselines"] if row["method"] == "seasonal naive")
    assert told["mae"] == pytest.approx(np.nanmean(errors))


def test_raw_windows_give_what_the_trainer_predicted(climate):
    problem = pose_series(CLIMATE, "climate.csv", parse_series_recipe(FORECAST))
    rows = held_out(climate)
    starts = problem.windows.test[:20]
    (found,) = climate.infer(["prediction"], value=problem.inputs(starts)[0])
    wanted = np.array([float(row["value predicted"]) for row in rows[: 20 * 6]]).reshape(20, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert [float(row["value true"]) for row in rows[:6]] == pytest.approx(problem.future(starts[:1])[0, :, 0])
    assert [row["time"] for row in rows[:2]] == [problem.series.times[starts[0] + 24], problem.series.times[starts[0] + 25]]


def test_held_out_windows_are_found_again_to_judge_children_by(climate, tmp_path):
    held_out = HeldOut.read(CLIMATE, "climate.csv", (climate.attachments / "recipe.yaml").read_text(), tmp_path)
    outputs = dict(zip(["prediction"], climate.infer(["prediction"], **held_out.inputs), strict=True))
    assert held_out.metrics(outputs)["mae"] == pytest.approx(climate.result["metrics"]["mae"])
    worse = {"prediction": outputs["prediction"] + 1}
    assert held_out.compare(outputs, outputs)["loss"]["value"] == 0.0
    assert held_out.compare(outputs, worse)["loss"]["value"] > 0
    evaluation = held_out.evaluation(worse)
    assert evaluation["residual_quantiles"]["p50"] > held_out.evaluation(outputs)["residual_quantiles"]["p50"]


def test_a_search_judges_series_by_their_validation_loss(tmp_path):
    recipe, losses = parse_series_recipe(FORECAST), []
    judge = open_judge(CLIMATE, {"filename": "climate.csv"}, recipe, tmp_path)
    value, facts = judge(recipe, lambda epoch, loss: losses.append((epoch, loss)))
    assert value == min(facts["curve"]) == min(loss for _, loss in losses)
    assert facts["epochs"] == len(losses)
    assert facts["mae"] > 0


def test_a_forecast_moves_with_its_series(climate):
    """Windows are scaled by themselves: what is three times as large and 1000 higher is foretold so."""
    wave = (np.sin(np.arange(24) / 2)[None] * 5 + 20).astype(np.float32)
    (low,), (high,) = (climate.infer(["prediction"], value=window) for window in (wave, wave * 3 + 1000))
    np.testing.assert_allclose(high, low * 3 + 1000, rtol=1e-4)


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "linear"},
        {"kind": "rnn", "depth": 2},
        {"kind": "lstm", "bidirectional": True},
        {"kind": "transformer", "heads": 2, "depth": 2, "linear_path": False},
    ],
    ids=lambda network: network["kind"],
)
def test_every_network_becomes_one_graph_of_any_number_of_rows(network, tmp_path):
    """Two targets, a covariate, a column known ahead and missing values, in one network with fresh weights."""
    path = write_shop(tmp_path / "shop.csv", days=90)
    path.write_text(path.read_text().replace("2026-01-20,", "2026-01-20,,,#", 1).replace(",,,#", ",0,,", 1).replace("#", ""))
    path.write_text("\n".join(line if line.count(",") == 3 else ",".join(line.split(",")[:4]) for line in path.read_text().split("\n")))
    recipe = parse_series_recipe(
        {
            "kind": "series",
            "time": "day",
            "target": ["sales", "visitors"],
            "known": "offer",
            "window": 7,
            "horizon": 3,
            "network": {"width": 8} | network,
        }
    )
    problem = pose_series(path, "shop.csv", recipe)
    scaling = scaling_for(problem)
    assert scaling.marks
    torch.manual_seed(1)
    net = SeriesNet(recipe.network, 7, 6, 3, 6)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    module = Forecaster(scaling, net).eval()
    graph = build_series_graph(module, problem, "test").SerializeToString()
    proof = prove_series(graph, module, problem)
    assert proof.holds, proof.reason
    session = ort.InferenceSession(graph)
    assert {one.name: one.shape[1:] for one in session.get_inputs()} == {"sales": [7], "visitors": [7], "offer": [10]}
    assert session.get_outputs()[0].shape[1:] == [3, 2]


def test_what_is_known_ahead_is_used(train, tmp_path):
    recipe = {
        "kind": "series",
        "time": "day",
        "target": "sales",
        "known": "offer",
        "window": 7,
        "horizon": 2,
        "scaling": "global",
        "network": {"kind": "linear"},
        "loss": "mse",
        "learning": {"epochs": 25, "optimizer": {"learning_rate": 0.05}},
    }
    done = train(write_shop(tmp_path / "shop.csv"), recipe)
    naive = next(row for row in done.result["report"]["evaluation"]["baselines"] if row["method"] == "naive")
    assert done.result["metrics"]["mae"] < 0.4 * naive["mae"]


def test_labelled_windows_are_classified_and_whole_groups_held_out(train, tmp_path):
    recipe = {
        "kind": "series",
        "task": "classification",
        "target": "state",
        "time": "second",
        "groups": "machine",
        "covariates": ["vibration", "heat"],
        "split": "groups",
        "window": 16,
        "stride": 4,
        "network": {"kind": "gru", "width": 12, "bidirectional": True, "linear_path": False},
        "class_weights": "balanced",
        "learning": {"epochs": 12, "batch_size": 16, "patience": None, "optimizer": {"learning_rate": 0.02}},
        "seed": 1,
    }
    path = write_machines(tmp_path / "machines.csv")
    done = train(path, recipe)
    assert done.result["metrics"]["accuracy"] > 0.9
    assert done.result["classes"] == ["sound", "worn"]
    assert {row["method"] for row in done.result["report"]["evaluation"]["baselines"]} == {"most frequent class", "logistic regression"}
    problem = pose_series(path, "machines.csv", parse_series_recipe(recipe))
    vibration, heat = problem.inputs(problem.windows.test)
    label, shares = done.infer(["label", "probabilities"], vibration=vibration, heat=heat)
    rows = held_out(done)
    assert label.tolist() == [row["predicted"] for row in rows]
    np.testing.assert_allclose(shares[:, 1], [float(row["p(worn)"]) for row in rows], atol=1e-5)
    found = HeldOut.read(path, "machines.csv", (done.attachments / "recipe.yaml").read_text(), tmp_path)
    outputs = {"probabilities": done.infer(["probabilities"], **found.inputs)[0]}
    assert found.metrics(outputs)["accuracy"] == pytest.approx(done.result["metrics"]["accuracy"])
    assert found.evaluation(outputs)["confusion_matrix"]["classes"] == ["sound", "worn"]


def test_a_quantity_of_a_window_is_learned(train, tmp_path):
    recipe = {
        "kind": "series",
        "task": "regression",
        "target": "strength",
        "groups": "machine",
        "covariates": "vibration",
        "split": "groups",
        "window": 12,
        "network": {"kind": "linear"},
        "learning": {"epochs": 3},
    }
    done = train(write_machines(tmp_path / "machines.csv"), recipe)
    assert set(done.result["metrics"]) == {"r2", "rmse", "mae"}
    assert done.result["report"]["proof"]["holds"]


def test_losses_leave_out_what_nobody_knows():
    outputs, targets = torch.tensor([[1.0, 5.0], [0.0, 0.0]]), torch.tensor([[3.0, float("nan")], [0.5, -2.0]])
    assert Quantities("mae").losses(outputs, targets).tolist() == [2.0, 1.25]
    assert Quantities("mse").losses(outputs, targets).tolist() == [4.0, (0.25 + 4) / 2]
    assert Quantities("huber", 1.0).losses(outputs, targets).tolist() == [1.5, (0.125 + 1.5) / 2]
    assert Quantities().score(outputs, targets) == 3.25


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": "valu"}, r"no column 'valu'.* Did you mean 'value'"),
        ({"time": "series"}, "the column 'series' has two roles"),
        ({"groups": ()}, r"two rows at the time '1958-03' .*groups"),
        ({"window": 900}, "longest stretch of climate.csv without a gap has 732 rows"),
        ({"split": "groups"}, "2 group"),
        ({"metric": "accuracy"}, "does not measure forecast; use one of mae, rmse, mase"),
        ({"task": "classification"}, "need covariates"),
        ({"network": {"kind": "transformer", "width": 10, "heads": 4}}, "no multiple of 4 heads"),
        ({"network": {"kind": "gro"}}, "network.kind"),
    ],
)
def test_what_cannot_be_learned_is_told_in_one_sentence(change, told):
    with pytest.raises((InvalidData, InvalidRequest), match=told):
        pose_series(CLIMATE, "climate.csv", parse_series_recipe(FORECAST | change))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda at: f"{at},1.5,x", "'y' is 1.5 in every row to learn from; there is nothing to learn"),
        (lambda at: f"{at},word,x", "'y' of s.csv holds text, and a series is made of numbers"),
        (lambda at: f"{at},,x", "'y' of s.csv has no value in any row"),
    ],
)
def test_targets_that_teach_nothing_are_refused(tmp_path, line, told):
    path = tmp_path / "s.csv"
    path.write_text("t,y,z\n" + "\n".join(line(at) for at in range(60)))
    recipe = {"kind": "series", "target": "y", "time": "t", "window": 6, "horizon": 2}
    with pytest.raises(InvalidData, match=told):
        pose_series(path, "s.csv", parse_series_recipe(recipe))


def test_a_recipe_survives_being_written_down():
    recipe = parse_series_recipe(FORECAST)
    assert parse_recipe(recipe.to_yaml()) == recipe
    assert json.loads(json.dumps(recipe.model_dump(mode="json", exclude_defaults=True)))["target"] == ["value"]
