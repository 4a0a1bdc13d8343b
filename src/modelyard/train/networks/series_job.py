"""One training on a series from file to proved graph: read, cut, learn, export, prove, evaluate, draw, write."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from modelyard.core.errors import JobFailed
from modelyard.datasets.series_profile import SeriesFacts, profile_series
from modelyard.evaluation.illustrator import Illustrator
from modelyard.train.job import Context
from modelyard.train.networks.architectures.series import SeriesNet, title_of
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.series_data import SeriesExamples, SeriesProblem, objective_for, pose_series, scaling_for
from modelyard.train.networks.series_evaluation import evaluate
from modelyard.train.networks.series_graph import SeriesProof, answers, build_series_graph, prove_series
from modelyard.train.networks.series_scaling import Forecaster, Reader, WindowScaling
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.recipes.parse import parse_series_recipe

logger = logging.getLogger(__name__)
_KEPT = 2_000
"""Held-out windows whose forecasts are kept."""
_PROFILED = 20_000
"""Windows of each side whose scaled values are looked at."""


@dataclass(frozen=True)
class Trained:
    """A network with everything that was found out about it."""

    module: nn.Module
    """From raw columns to raw answers."""
    weights: int
    device: Device
    fit: Fit
    graph: bytes
    proof: SeriesProof
    predicted: NDArray[np.float64]
    """For the held-out windows, by the network itself."""


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_series_recipe(context.spec["recipe"])
    stages = Stages(context)
    device = choose_device(recipe.learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    problem = pose_series(stages.path, stages.name, recipe)
    _tell(problem, stages.name)
    scaling = scaling_for(problem)
    with Illustrator(stages.attachments) as illustrator:
        trained = _learn(problem, scaling, device, stages)
        stages.report("evaluate", 0.0, f"evaluating on {len(problem.windows.test):,} held-out windows")
        metrics, evaluation, plots = evaluate(problem, scaling, trained.predicted, illustrator)
        score = "accuracy" if problem.classes else "mae"
        illustrator.draw("learning", "learning_curves", history=trained.fit.history, best=trained.fit.best_epoch, score=score)
        (stages.artifact / "model.onnx").write_bytes(trained.graph)
        profile = _profile(problem, scaling)
        illustrator.draw("profile", "data_profile", panels=profile.pop("panels"))
        for title, content in _documents(problem, trained, profile).items():
            (stages.attachments / title).write_bytes(content)
        illustrator.finish()
    stages.done(f"{title_of(recipe.network)} is ready")
    report = _report(problem, trained) | {"evaluation": evaluation, "source": _source(problem, stages.name)}
    report["plots"] = {name: f"{name}.svg" for name in (*plots, "learning_curves", "data_profile")}
    return stages.result(recipe.name, Served("onnx"), metrics=metrics, report=report, classes=problem.classes)


def _tell(problem: SeriesProblem, name: str) -> None:
    series, windows = problem.series, problem.windows
    logger.info(
        "%s: %d rows in %d series with %d gaps; %d windows to learn from, %d to choose by, %d held out, %d left out between them",
        name,
        len(series),
        len(series.names),
        series.gaps,
        len(windows.train),
        len(windows.validate),
        len(windows.test),
        windows.left_out,
    )


def lesson_for(problem: SeriesProblem, scaling: WindowScaling) -> Lesson:
    """What is learned, with fresh weights drawn from the recipe's seed."""
    recipe, scale = problem.recipe, scale_of(problem)
    train, validate = (SeriesExamples(problem, starts, scaling, scale) for starts in (problem.windows.train, problem.windows.validate))
    torch.manual_seed(recipe.seed)
    network = SeriesNet(recipe.network, recipe.window, *train.width, problem.outputs)
    return Lesson(network, objective_for(problem), train, validate, recipe.seed)


def _facts(problem: SeriesProblem) -> list[Any]:
    """What must be the same for a checkpoint to be of any use, beside what every network has."""
    kept = problem.recipe.model_dump(mode="json", exclude={"learning", "name", "search", "metric"})
    return [kept, list(problem.columns), len(problem.windows.train)]


def scale_of(problem: SeriesProblem) -> tuple[float, float]:
    """Mean and deviation of a labelled quantity over the windows to learn from."""
    if problem.forecasts or problem.classes:
        return 0.0, 1.0
    labels = problem.labels_of(problem.windows.train)
    return float(labels.mean()), float(labels.std()) or 1.0


def _learn(problem: SeriesProblem, scaling: WindowScaling, device: Device, stages: Stages) -> Trained:
    title, learning = title_of(problem.recipe.network), problem.recipe.learning
    lesson = lesson_for(problem, scaling)
    weights = sum(weight.numel() for weight in lesson.module.parameters())
    logger.info("%s with %d weights on %s", title, weights, device.title)
    checkpoints = stages.checkpoints(learning, stages.fingerprint(learning, _facts(problem)))
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "making one graph from raw windows to answers")
    network = lesson.module.to("cpu")
    module = (Forecaster(scaling, network) if problem.forecasts else Reader(scaling, network, *scale_of(problem))).eval()
    predicted = answers(module, problem, problem.windows.test)
    graph = build_series_graph(module, problem, title).SerializeToString(deterministic=True)
    proof = prove_series(graph, module, problem)
    if not proof.holds:
        raise JobFailed(f"The network's graph answers differently, so it was not kept: {proof.reason}.")
    return Trained(module, weights, device, fit, graph, proof, predicted)


def _report(problem: SeriesProblem, trained: Trained) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    recipe, windows = problem.recipe, problem.windows
    return {
        "task": f"series {recipe.task}",
        "target": list(recipe.target),
        "family": recipe.network.kind,
        "family_title": title_of(recipe.network),
        "settings": recipe.network.model_dump(mode="json"),
        "weights": trained.weights,
        "metric": recipe.deciding,
        "rows": {
            "train": len(windows.train),
            "validation": len(windows.validate),
            "held_out": len(windows.test),
            "between": windows.left_out,
        },
        "window": recipe.window,
        "horizon": recipe.horizon if problem.forecasts else 0,
        "season": problem.season,
        "embargo": recipe.gap,
        "split": recipe.split,
        "inputs": list(problem.columns),
        "training": training_report(trained.fit, trained.device, recipe.learning),
        "proof": trained.proof.report,
        "seed": recipe.seed,
    }


def _source(problem: SeriesProblem, name: str) -> dict[str, Any]:
    """How the file was read."""
    series = problem.series
    return {
        "name": name,
        "rows": len(series),
        "series": len(series.names) if problem.recipe.groups else 1,
        "gaps": series.gaps,
        "step": series.step,
        "from": series.times[int(np.argmin(series.position))],
        "to": series.times[int(np.argmax(series.position))],
    }


def _profile(problem: SeriesProblem, scaling: WindowScaling) -> dict[str, Any]:
    recipe, windows = problem.recipe, problem.windows
    parts = {"train": windows.train, "validation": windows.validate, "held_out": windows.test}
    known = len(problem.columns) - len(recipe.known)
    roles = ["target" if at < problem.targets else "covariate" if at < known else "known" for at in range(len(problem.columns))]
    return profile_series(
        SeriesFacts(
            series=problem.series,
            columns=problem.columns,
            roles=roles,
            values=problem.values,
            parts=parts,
            left_out=windows.left_out,
            window=recipe.window,
            ahead=recipe.ahead,
            season=problem.season,
            scaled={
                part: SeriesExamples(problem, starts[:_PROFILED], scaling, scale_of(problem)).flat()[0].ravel().astype(np.float64)
                for part, starts in parts.items()
            },
            labels=problem.labels.astype(np.intp) if problem.classes and problem.labels is not None else None,
            classes=problem.classes,
        )
    )


def _documents(problem: SeriesProblem, trained: Trained, profile: dict[str, Any]) -> dict[str, bytes]:
    """The texts among the attachments."""
    return {
        "recipe.yaml": problem.recipe.to_yaml().encode(),
        "profile.json": json.dumps(profile, ensure_ascii=False, indent=1).encode(),
        "held_out.csv": _held_out(problem, trained.predicted).encode(),
        "history.json": json.dumps(trained.fit.history, indent=1).encode(),
    }


def _held_out(problem: SeriesProblem, predicted: NDArray[np.float64]) -> str:
    """What was held out and what was predicted: a line for each step ahead, or for each labelled window."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    series, window, starts = problem.series, problem.recipe.window, problem.windows.test[:_KEPT]
    if problem.forecasts:
        names = problem.columns[: problem.targets]
        writer.writerow(["series", "last_seen", "time", "ahead", *(f"{name} {what}" for name in names for what in ("true", "predicted"))])
        truth, found = problem.future(starts), predicted[: len(starts)].reshape(len(starts), -1, problem.targets)
        for at, start in enumerate(starts):
            seen = start + window - 1
            for step in range(problem.recipe.horizon):
                pairs = (
                    f"{value:.9g}" for target in range(problem.targets) for value in (truth[at, step, target], found[at, step, target])
                )
                writer.writerow([series.names[series.group[start]], series.times[seen], series.times[seen + step + 1], step + 1, *pairs])
        return table.getvalue()
    labels = problem.labels_of(starts)
    writer.writerow(["series", "time", "true", "predicted", *(f"p({name})" for name in problem.classes)])
    for start, label, found in zip(starts, labels, predicted, strict=False):
        told = (
            [problem.classes[int(label)], problem.classes[int(found.argmax())]] if problem.classes else [f"{label:.9g}", f"{found[0]:.9g}"]
        )
        shares = [f"{share:.6g}" for share in found] if problem.classes else []
        writer.writerow([series.names[series.group[start]], series.times[start + window - 1], *told, *shares])
    return table.getvalue()
