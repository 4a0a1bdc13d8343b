"""One training on labelled texts from file to results, whatever learns them: read, learn, evaluate, draw, write."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modelyard.datasets.text_profile import TextFacts, profile_texts
from modelyard.evaluation.illustrator import Illustrator
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.networks.text_artifact import FORMAT, TextProof
from modelyard.train.networks.text_data import TextProblem, pose_texts
from modelyard.train.networks.text_evaluation import evaluate
from modelyard.train.recipes.labelled import LabelledTexts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network with everything that was found out about it."""

    title: str
    """What people call it."""
    about: dict[str, Any]
    """Of the report: ``family``, ``settings``, ``weights`` and the like."""
    tokenizer: Tokenizer
    longest: int
    """Tokens of a text that are read."""
    device: Device
    fit: Fit
    proof: TextProof
    predicted: NDArray[np.float64]
    """Probabilities of the held-out texts, by the network itself."""


Learn = Callable[[TextProblem, Device, Stages], Trained]
"""Learns from the texts that training may see, and writes the artifact."""


def train_on_texts(stages: Stages, recipe: LabelledTexts, model: str, learn: Learn) -> dict[str, Any]:
    """Runs the whole training inside a job's process; gives what ``train.job.run`` gives, under the name ``model``."""
    device = choose_device(recipe.learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    problem = pose_texts(stages.path, stages.name, recipe)
    _tell(problem, stages.name)
    with Illustrator(stages.attachments) as illustrator:
        trained = learn(problem, device, stages)
        stages.report("evaluate", 0.0, f"evaluating on {len(problem.test):,} held-out texts")
        metrics, evaluation, plots = evaluate(problem, trained.predicted, illustrator)
        illustrator.draw("learning", "learning_curves", history=trained.fit.history, best=trained.fit.best_epoch, score="accuracy")
        profile = _profile(problem, trained)
        illustrator.draw("profile", "data_profile", panels=profile.pop("panels"))
        for title, content in _documents(problem, trained, profile).items():
            (stages.attachments / title).write_bytes(content)
        illustrator.finish()
    stages.done(f"{trained.title} is ready")
    report = _report(problem, trained) | {"evaluation": evaluation, "source": _source(problem, stages.name)}
    report["plots"] = {name: f"{name}.svg" for name in (*plots, "learning_curves", "data_profile")}
    return stages.result(model, Served(FORMAT), metrics=metrics, report=report, classes=problem.classes)


def _tell(problem: TextProblem, name: str) -> None:
    logger.info(
        "%s: %d texts of %d classes; %d to learn from, %d to choose by, %d held out",
        name,
        len(problem.texts),
        len(problem.classes),
        len(problem.train),
        len(problem.validate),
        len(problem.test),
    )
    for count, what in (
        (problem.empty, "rows have no text, and were left out"),
        (problem.unlabelled, "texts have no label, and were left out"),
        (problem.leaked, "held-out texts are copies of ones to learn from, and were dropped"),
    ):
        if count:
            logger.warning("%d %s", count, what)


def _report(problem: TextProblem, trained: Trained) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    recipe = problem.recipe
    return {
        "task": "text classification",
        "target": recipe.target,
        "family_title": trained.title,
        **trained.about,
        "metric": recipe.metric,
        "rows": {"train": len(problem.train), "validation": len(problem.validate), "held_out": len(problem.test)},
        "training": training_report(trained.fit, trained.device, recipe.learning),
        "proof": trained.proof.report,
        "seed": recipe.seed,
    }


def _source(problem: TextProblem, name: str) -> dict[str, Any]:
    """How the file was read."""
    counts = np.bincount(problem.labels, minlength=len(problem.classes)).tolist()
    return {
        "name": name,
        "rows": len(problem.table),
        "classes": dict(zip(problem.classes, counts, strict=True)),
        "without_text": problem.empty,
        "without_target": problem.unlabelled,
        "duplicates": problem.duplicates,
        "dropped_as_copies": problem.leaked,
    }


def _profile(problem: TextProblem, trained: Trained) -> dict[str, Any]:
    whole = Tokenizer.from_str(trained.tokenizer.to_str())
    whole.no_truncation()
    return profile_texts(
        TextFacts(
            raw=problem.table.column(problem.recipe.text).texts().tolist(),
            unlabelled=problem.unlabelled,
            kept=problem.texts,
            rows=problem.rows,
            labels=problem.labels,
            classes=problem.classes,
            parts={"train": problem.train, "validation": problem.validate, "held_out": problem.test},
            duplicates=problem.duplicates,
            dropped=problem.leaked,
            tokens=np.array([len(item.ids) for item in whole.encode_batch(list(problem.texts))], np.intp),
            longest=trained.longest,
        )
    )


def _documents(problem: TextProblem, trained: Trained, profile: dict[str, Any]) -> dict[str, bytes]:
    """The texts among the attachments."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["row", "true", "predicted", *(f"p({name})" for name in problem.classes)])
    for row, shares in zip(problem.test, trained.predicted, strict=True):
        labels = (problem.classes[problem.labels[row]], problem.classes[int(shares.argmax())])
        writer.writerow([int(problem.rows[row]) + 1, *labels, *(f"{share:.6g}" for share in shares)])
    return {
        "recipe.yaml": problem.recipe.to_yaml().encode(),
        "profile.json": json.dumps(profile, ensure_ascii=False, indent=1).encode(),
        "held_out.csv": table.getvalue().encode(),
        "history.json": json.dumps(trained.fit.history, indent=1).encode(),
    }
