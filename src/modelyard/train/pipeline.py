"""One training from file to proved graph: read, profile, search, fit, prove, evaluate, draw, write."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from onnx import ModelProto
from threadpoolctl import threadpool_limits

from modelyard.core.errors import JobFailed
from modelyard.datasets.profile import ColumnProfile, profile_table
from modelyard.datasets.read import read_table
from modelyard.datasets.table import Table
from modelyard.datasets.table_profile import column_outliers, profile_rows
from modelyard.evaluation.details import evaluate_classes, evaluate_numbers
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.train.families import FAMILIES
from modelyard.train.graph import build_graph
from modelyard.train.job import Context
from modelyard.train.learning_curve import learning_curve
from modelyard.train.model import PreparedRows, TrainedModel, fit_model, prepare_rows, shape_of
from modelyard.train.naming import model_name
from modelyard.train.problem import Problem, Task, column_docs, pose
from modelyard.train.proof import Proof, prove
from modelyard.train.recipes.parse import parse_table_recipe
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.search import Report, Search, Standing, first_line, threads_for
from modelyard.train.selection.select import select_features
from modelyard.train.slicing import table_slices

logger = logging.getLogger(__name__)

_SPANS = {
    "read": (0.0, 0.04),
    "profile": (0.04, 0.06),
    "select": (0.06, 0.2),
    "search": (0.2, 0.86),
    "fit": (0.86, 0.92),
    "evaluate": (0.92, 0.97),
}
"""The share of the whole that each stage takes."""
_PROFILED = 100_000
"""Training rows whose prepared values are looked at."""


@dataclass(frozen=True)
class Winner:
    """The family that was chosen, proved to be the same as its graph."""

    standing: Standing
    model: TrainedModel
    graph: bytes
    proof: Proof


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``job.run``."""
    recipe = parse_table_recipe(context.spec["recipe"])
    dataset: Mapping[str, Any] = context.spec.get("dataset") or {}
    path = context.inputs["data"]
    name = str(dataset.get("filename") or path.name)

    def report(stage: str, fraction: float, message: str) -> None:
        first, last = _SPANS[stage]
        context.report(stage, round(first + (last - first) * fraction, 4), message)

    report("read", 0.0, f"reading {name}")
    table = read_table(path, recipe.read_options(), name)
    report("profile", 0.0, f"{len(table):,} rows, {len(table.columns)} columns")
    profiles = profile_table(table)
    problem = pose(table, profiles, recipe)
    selection = select_features(problem, recipe, report)
    if selection is not None:
        problem = selection.problem
    output = context.folder / "output"
    for part in ("artifact", "attachments"):
        (output / part).mkdir(parents=True, exist_ok=True)
    with Illustrator(output / "attachments") as illustrator:
        search = Search(problem, recipe, report)
        standings = search.run()
        winner = _choose(problem, recipe, standings, profiles, report)
        leaderboard = [standing.to_json() for standing in standings]
        better = HIGHER_IS_BETTER[problem.metric]
        if selection is not None:
            illustrator.draw("selection", "selection", **selection.report)
        illustrator.draw("leaderboard", "leaderboard", rows=leaderboard, metric=problem.metric, higher_is_better=better)
        curve = learning_curve(search, winner.standing)
        if curve:
            illustrator.draw("scores_by_rows", "scores_by_rows", points=curve, family=winner.standing.title, metric=problem.metric)
        report("evaluate", 0.0, f"evaluating {winner.standing.title} on {len(problem.test):,} held-out rows")
        metrics, evaluation = _evaluate(problem, winner, illustrator)
        result = {
            "model": recipe.name or model_name(str(dataset.get("name") or name)),
            "entry": "model.onnx",
            "format": "onnx",
            "metrics": metrics,
            "report": _report(problem, recipe, winner, curve)
            | {"source": _source(table), "leaderboard": leaderboard, "evaluation": evaluation}
            | ({"selection": selection.report} if selection else {}),
            "classes": list(problem.classes),
            "dataset_digest": str(dataset.get("digest") or ""),
        }
        facts = _facts(table, problem, winner)
        illustrator.draw("profile", "data_profile", panels=facts.pop("panels"))
        documents = _documents(recipe, leaderboard)
        _write(output, winner.graph, documents | {"profile.json": _json(facts | {"columns": _columns(table, problem, profiles)})})
        illustrator.finish()
    context.report("done", 1.0, f"{winner.standing.title} is ready")
    return result


def _choose(
    problem: Problem,
    recipe: TableRecipe,
    standings: list[Standing],
    profiles: Mapping[str, ColumnProfile],
    report: Report,
) -> Winner:
    """Fits the best family on all training rows; where its graph is not the same as the model, the next best.

    Raises JobFailed when no family passes.
    """
    prepared = prepare_rows(problem, recipe.preparation_options(), problem.train)
    ranked = [standing for standing in standings if standing.status == "ranked"]
    for standing in ranked:
        report("fit", 0.0, f"fitting {standing.title} on all {len(problem.train):,} training rows")
        try:
            winner = _fit_and_prove(problem, standing, prepared, profiles)
        except Exception as error:  # The edge to libraries that convert and run graphs: whatever they raise refuses this family only.
            logger.warning("family %s cannot become a graph", standing.family, exc_info=True)
            standing.status, standing.note = "refused", f"it cannot become a graph: {first_line(error)}"
            continue
        if winner.proof.holds:
            standing.status = "selected"
            standing.note = "; ".join(filter(None, [standing.note, *winner.model.fitted.notes]))
            return winner
        logger.warning("family %s is refused: %s", standing.family, winner.proof.report)
        standing.status, standing.note = "refused", f"its graph answers differently: {winner.proof.reason}"
    raise JobFailed("No model family could be turned into a graph: " + "; ".join(f"{row.family}: {row.note}" for row in ranked))


def _fit_and_prove(problem: Problem, standing: Standing, prepared: PreparedRows, profiles: Mapping[str, ColumnProfile]) -> Winner:
    rows, features = prepared.features.shape
    shape = shape_of(problem, rows, features, threads_for(rows, features))
    with threadpool_limits(limits=shape.threads):
        model = fit_model(FAMILIES.get(standing.family), standing.settings, shape, prepared)
        graph: ModelProto = build_graph(model, problem, standing.family, column_docs(problem, profiles))
        content = graph.SerializeToString(deterministic=True)
        return Winner(standing, model, content, prove(content, model, problem))


def _evaluate(problem: Problem, winner: Winner, illustrator: Illustrator) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details from the held-out rows, which are used here for the first time and once; has their picture drawn."""
    predicted = winner.model.predict(problem.features, problem.test)
    slices = {"slices": table_slices(problem, predicted)}
    if problem.task is Task.REGRESSION:
        truth = problem.values[problem.test].astype(np.float64)
        illustrator.draw("residuals", "residuals", true=truth, estimates=predicted, target=problem.target)
        return regression_metrics(truth, predicted), evaluate_numbers(truth, predicted, problem.seed) | slices
    codes = problem.values[problem.test].astype(np.int64)
    details = evaluate_classes(codes, predicted, problem.classes, problem.seed)
    title, counts = f"{problem.target}: {len(codes):,} held-out rows", details["confusion_matrix"]["counts"]
    illustrator.draw("confusion", "confusion_matrix", counts=counts, names=problem.classes, title=title)
    illustrator.draw("calibration", "calibration", **details["calibration"])
    return classification_metrics(codes, predicted), details | slices


def _report(problem: Problem, recipe: TableRecipe, winner: Winner, curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What was trained on what, and how it was chosen, as plain data."""
    standing = winner.standing
    main = ("residuals",) if problem.task is Task.REGRESSION else ("confusion_matrix", "calibration")
    others = (*(("scores_by_rows",) if curve else ()), *(("selection",) if recipe.features.select != "none" else ()))
    return {
        "task": str(problem.task),
        "target": problem.target,
        "family": standing.family,
        "family_title": standing.title,
        "settings": dict(standing.settings),
        "metric": problem.metric,
        "learning_curve": [*curve],
        "cross_validation": {"mean": standing.mean, "std": standing.std, "folds": problem.fold_count(recipe.folds)},
        "rows": {"train": len(problem.train), "held_out": len(problem.test), "without_target": problem.dropped_rows},
        "features": problem.features.names,
        "excluded": dict(problem.excluded),
        "proof": dict(winner.proof.report),
        "seed": problem.seed,
        "plots": {name: f"{name}.svg" for name in (*main, "leaderboard", "data_profile", *others)},
    }


def _documents(recipe: TableRecipe, leaderboard: list[dict[str, Any]]) -> dict[str, bytes]:
    """The texts among the attachments."""
    return {"recipe.yaml": recipe.to_yaml().encode(), "leaderboard.json": _json(leaderboard)}


def _columns(table: Table, problem: Problem, profiles: Mapping[str, ColumnProfile]) -> list[dict[str, Any]]:
    """Every column as it was read, and what became of it."""
    return [
        msgspec.to_builtins(profile)
        | {"kind": str(problem.fields[name].kind), "role": _role(name, problem), "reason": problem.excluded.get(name, "")}
        | {"outliers": column_outliers(table.column(name))}
        for name, profile in profiles.items()
    ]


def _facts(table: Table, problem: Problem, winner: Winner) -> dict[str, Any]:
    prepared = winner.model.preparation.transform(problem.features, problem.train[:_PROFILED])
    parts = {"train": problem.train, "held_out": problem.test}
    return profile_rows(table, problem.features, problem.values, problem.classes, parts=parts, prepared=prepared)


def _source(table: Table) -> dict[str, Any]:
    """How the file was read."""
    source: dict[str, Any] = msgspec.to_builtins(table.source)
    return source | {"rows": len(table), "columns": len(table.columns)}


def _role(name: str, problem: Problem) -> str:
    if name == problem.target:
        return "target"
    return "excluded" if name in problem.excluded else "feature"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _write(output: Path, graph: bytes, documents: Mapping[str, bytes]) -> None:
    (output / "artifact" / "model.onnx").write_bytes(graph)
    for name, content in documents.items():
        (output / "attachments" / name).write_bytes(content)
