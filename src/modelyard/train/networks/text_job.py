"""One training on texts from file to proved artifact: read, tokenize, learn, export, prove, evaluate, draw, write."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray

from modelyard.core.errors import JobFailed
from modelyard.evaluation.illustrator import Illustrator
from modelyard.train.job import Context
from modelyard.train.networks.architectures.texts import TextNet, title_of
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.networks.text_artifact import FORMAT, TextProof, answers, prove_texts, write_text_model
from modelyard.train.networks.text_data import TextExamples, TextProblem, learn_tokens, objective_for, pose_texts
from modelyard.train.networks.text_evaluation import evaluate
from modelyard.train.recipes.parse import parse_text_recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network with everything that was found out about it."""

    weights: int
    vocabulary: int
    device: Device
    fit: Fit
    proof: TextProof
    predicted: NDArray[np.float64]
    """Probabilities of the held-out texts, by the network itself."""


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_text_recipe(context.spec["recipe"])
    stages = Stages(context)
    device = choose_device(recipe.learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    problem = pose_texts(stages.path, stages.name, recipe)
    _tell(problem, stages.name)
    with Illustrator(stages.attachments) as illustrator:
        trained = _learn(problem, device, stages)
        stages.report("evaluate", 0.0, f"evaluating on {len(problem.test):,} held-out texts")
        metrics, evaluation, plots = evaluate(problem, trained.predicted, illustrator)
        illustrator.draw("learning", "learning_curves", history=trained.fit.history, best=trained.fit.best_epoch, score="accuracy")
        for title, content in _documents(problem, trained).items():
            (stages.attachments / title).write_bytes(content)
        illustrator.finish()
    stages.done(f"{title_of(recipe.network)} is ready")
    report = _report(problem, trained) | {"evaluation": evaluation, "source": _source(problem, stages.name)}
    report["plots"] = {name: f"{name}.svg" for name in (*plots, "learning_curves")}
    return stages.result(recipe.name, Served(FORMAT), metrics=metrics, report=report, classes=problem.classes)


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


def lesson_for(problem: TextProblem, tokenizer: tokenizers.Tokenizer) -> Lesson:
    """What is learned, with fresh weights drawn from the recipe's seed."""
    recipe = problem.recipe
    train, validate = (TextExamples(problem, rows, tokenizer) for rows in (problem.train, problem.validate))
    torch.manual_seed(recipe.seed)
    network = TextNet(recipe.network, tokenizer.get_vocab_size(), recipe.tokens.longest, len(problem.classes))
    return Lesson(network, objective_for(problem), train, validate, recipe.seed)


def _learn(problem: TextProblem, device: Device, stages: Stages) -> Trained:
    recipe, learning = problem.recipe, problem.recipe.learning
    stages.report("read", 0.5, "learning the tokens")
    tokenizer = learn_tokens(problem.of(problem.train), recipe.tokens)
    lesson = lesson_for(problem, tokenizer)
    weights = sum(weight.numel() for weight in lesson.module.parameters())
    logger.info("%s with %d weights and %d tokens on %s", title_of(recipe.network), weights, tokenizer.get_vocab_size(), device.title)
    kept = recipe.model_dump(mode="json", include={"network", "tokens", "seed", "test_size", "text", "target", "on_empty"})
    fingerprint = stages.fingerprint(learning, [kept, list(problem.classes), len(problem.train)])
    checkpoints = stages.checkpoints(learning, fingerprint)
    fit = learn(lesson, learning, device, checkpoints, scratch=stages.scratch, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "writing graph and tokenizer")
    module = lesson.module.to("cpu").eval()
    predicted = answers(module, TextExamples(problem, problem.test, tokenizer))
    write_text_model(module, tokenizer, problem, stages.artifact)
    proof = prove_texts(stages.artifact, problem, predicted)
    if not proof.holds:
        raise JobFailed(f"The network's graph answers differently, so it was not kept: {proof.reason}.")
    return Trained(weights, tokenizer.get_vocab_size(), device, fit, proof, predicted)


def _report(problem: TextProblem, trained: Trained) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    recipe = problem.recipe
    return {
        "task": "text classification",
        "target": recipe.target,
        "family": recipe.network.kind,
        "family_title": title_of(recipe.network),
        "settings": recipe.network.model_dump(mode="json"),
        "tokens": {"vocabulary": trained.vocabulary, "longest": recipe.tokens.longest},
        "weights": trained.weights,
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


def _documents(problem: TextProblem, trained: Trained) -> dict[str, bytes]:
    """The texts among the attachments."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["row", "true", "predicted", *(f"p({name})" for name in problem.classes)])
    for row, shares in zip(problem.test, trained.predicted, strict=True):
        labels = (problem.classes[problem.labels[row]], problem.classes[int(shares.argmax())])
        writer.writerow([int(problem.rows[row]) + 1, *labels, *(f"{share:.6g}" for share in shares)])
    return {
        "recipe.yaml": problem.recipe.to_yaml().encode(),
        "held_out.csv": table.getvalue().encode(),
        "history.json": json.dumps(trained.fit.history, indent=1).encode(),
    }
