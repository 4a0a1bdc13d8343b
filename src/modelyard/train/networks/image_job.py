"""One image training from file to proved graph: read, split, learn, export, prove, evaluate, draw, write."""

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
from modelyard.datasets.images.profile import profile_images
from modelyard.evaluation.calibration import calibration_bins, calibration_error
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import classification_intervals
from modelyard.evaluation.metrics import classification_metrics, confusion, per_class
from modelyard.evaluation.slices import mean_slices
from modelyard.train.job import Context
from modelyard.train.networks.architectures.images import TITLES, build
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.image_data import ImageExamples, ImageProblem, objective_for, pose_images
from modelyard.train.networks.image_graph import ImageProof, build_image_graph, prove_images
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.pixels import Scaling, learn_scaling
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.recipes.images import Augmentation, ImageRecipe
from modelyard.train.recipes.parse import parse_image_recipe

logger = logging.getLogger(__name__)
_SHOWN = 24
_AT_ONCE = 256


@dataclass(frozen=True)
class Trained:
    """A network with everything that was found out about it."""

    module: nn.Module
    scaling: Scaling
    device: Device
    fit: Fit
    graph: bytes
    proof: ImageProof
    predicted: NDArray[np.float64]
    """Probabilities of the held-out images, by the network itself."""


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_image_recipe(context.spec["recipe"])
    stages = Stages(context)
    device = choose_device(recipe.learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    store = stages.output / "pixels.npy"
    problem = pose_images(stages.path, stages.name, recipe, store, partial(stages.report, "read"))
    _tell(problem, stages.name)
    with Illustrator(stages.attachments) as illustrator:
        trained = _learn(problem, recipe, device, stages)
        stages.report("evaluate", 0.0, f"evaluating on {len(problem.test):,} held-out images")
        metrics, evaluation = _evaluate(problem, trained.predicted, recipe, illustrator)
        history = trained.fit.history
        illustrator.draw("learning", "learning_curves", history=history, best=trained.fit.best_epoch, score="accuracy")
        (stages.artifact / "model.onnx").write_bytes(trained.graph)
        parts = {"train": problem.train, "validation": problem.validate, "held_out": problem.test}
        profile = profile_images(problem.images, parts, problem.duplicates, problem.leaked)
        illustrator.draw("profile", "data_profile", panels=profile.pop("panels"))
        for title, content in _documents(recipe, problem, trained, profile).items():
            (stages.attachments / title).write_bytes(content)
        illustrator.finish()
    store.unlink()
    stages.done(f"{TITLES[recipe.network.kind]} is ready")
    report = _report(problem, recipe, trained) | {"source": _source(problem, stages.name), "evaluation": evaluation}
    return stages.result(recipe.name, Served("onnx"), metrics=metrics, report=report, classes=problem.images.classes)


def _tell(problem: ImageProblem, name: str) -> None:
    images, layout = problem.images, problem.images.layout
    logger.info(
        "%s: %d images of %d classes, as %dx%dx%d", name, len(images), len(images.classes), layout.height, layout.width, layout.channels
    )
    for title, reason in images.unreadable.items():
        logger.warning("left out: %s: %s", title, reason)
    if problem.leaked:
        logger.warning("%d held-out images are copies of ones to learn from; they were dropped", problem.leaked)


def _facts(problem: ImageProblem, recipe: ImageRecipe) -> list[Any]:
    """What must be the same for a checkpoint to be of any use, beside what every network has."""
    layout = problem.images.layout
    return [
        recipe.network.model_dump(mode="json"),
        [recipe.seed, recipe.test_size],
        [layout.height, layout.width, layout.channels, list(problem.images.classes), len(problem.train)],
    ]


def lesson_for(problem: ImageProblem, recipe: ImageRecipe, scaling: Scaling) -> Lesson:
    """What is learned, with fresh weights drawn from the recipe's seed."""
    layout = problem.images.layout
    torch.manual_seed(recipe.seed)
    return Lesson(
        build(recipe.network, layout.channels, layout.height, layout.width, len(problem.images.classes)),
        objective_for(problem, recipe),
        ImageExamples(problem, problem.train, scaling, recipe.augmentation),
        ImageExamples(problem, problem.validate, scaling, Augmentation()),
        recipe.seed,
    )


def _learn(problem: ImageProblem, recipe: ImageRecipe, device: Device, stages: Stages) -> Trained:
    scaling = learn_scaling(problem.images.pixels, problem.train)
    lesson = lesson_for(problem, recipe, scaling)
    weights = sum(weight.numel() for weight in lesson.module.parameters())
    logger.info("%s with %d weights on %s", TITLES[recipe.network.kind], weights, device.title)
    learning = recipe.learning
    checkpoints = stages.checkpoints(learning, stages.fingerprint(learning, _facts(problem, recipe)))
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "making one graph from bytes to classes")
    module = lesson.module.to("cpu")
    predicted = _predict(module, ImageExamples(problem, problem.test, scaling, Augmentation()))
    graph = build_image_graph(module, problem, scaling, TITLES[recipe.network.kind]).SerializeToString(deterministic=True)
    proof = prove_images(graph, problem, predicted)
    if not proof.holds:
        raise JobFailed(f"The network's graph answers differently, so it was not kept: {proof.reason}.")
    return Trained(module, scaling, device, fit, graph, proof, predicted)


def _predict(module: nn.Module, examples: ImageExamples) -> NDArray[np.float64]:
    """Probabilities, as the trainer itself computes them."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(examples), _AT_ONCE):
            inputs, _ = examples.batch(np.arange(start, min(start + _AT_ONCE, len(examples)), dtype=np.intp), None)
            found.append(torch.softmax(module(*inputs), dim=1).double().numpy())
    return np.concatenate(found)


def _evaluate(
    problem: ImageProblem, predicted: NDArray[np.float64], recipe: ImageRecipe, illustrator: Illustrator
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and details from the held-out images, which are used here for the first time; has their pictures drawn."""
    images = problem.images
    truth, chosen = images.labels[problem.test], predicted.argmax(axis=1)
    counts = confusion(truth, chosen, len(images.classes))
    bins = calibration_bins(predicted.max(axis=1), truth == chosen)
    error = calibration_error(bins)
    illustrator.draw("confusion", "confusion_matrix", counts=counts, names=images.classes, title=f"{len(truth):,} held-out images")
    illustrator.draw("calibration", "calibration", bins=bins, error=error)
    # The surest mistakes first; where there are too few, the least sure hits.
    order = np.lexsort((np.where(truth == chosen, predicted.max(axis=1), -predicted.max(axis=1)), truth == chosen))[:_SHOWN]
    illustrator.draw(
        "gallery",
        "hardest_images",
        images=[images.pixels[problem.test[at]] for at in order],
        captions=[f"{images.classes[truth[at]]} → {images.classes[chosen[at]]}, {predicted[at].max():.0%}" for at in order],
        title="Held-out images that are hardest: true → predicted class, probability",
    )
    details = {
        "classes": per_class(truth, chosen, images.classes),
        "confusion_matrix": {"classes": list(images.classes), "counts": counts.tolist()},
        "intervals": classification_intervals(truth, predicted, recipe.seed),
        "calibration": {"error": error, "bins": bins},
        "slices": mean_slices(_looks(problem), (truth == chosen).astype(float), "accuracy", higher_is_better=True, seed=recipe.seed),
        "mistakes": [
            {"name": images.names[problem.test[at]], "true": images.classes[truth[at]], "predicted": images.classes[chosen[at]]}
            for at in order
            if truth[at] != chosen[at]
        ],
    }
    return classification_metrics(truth, predicted) | {"calibration_error": error}, details


def _looks(problem: ImageProblem) -> dict[str, NDArray[np.float64]]:
    """What may make a held-out image hard, a number each."""
    found = np.array([(pixels.mean(), pixels.std()) for pixels in (problem.images.pixels[row] for row in problem.test)], np.float64)
    return {"brightness": found[:, 0], "contrast": found[:, 1]}


def _report(problem: ImageProblem, recipe: ImageRecipe, trained: Trained) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    return {
        "task": "image classification",
        "family": recipe.network.kind,
        "family_title": TITLES[recipe.network.kind],
        "settings": recipe.network.model_dump(mode="json"),
        "weights": sum(weight.numel() for weight in trained.module.parameters()),
        "metric": recipe.metric,
        "rows": {"train": len(problem.train), "validation": len(problem.validate), "held_out": len(problem.test)},
        "training": training_report(trained.fit, trained.device, recipe.learning),
        "proof": trained.proof.report,
        "seed": recipe.seed,
        "plots": {name: f"{name}.svg" for name in ("confusion_matrix", "learning_curves", "calibration", "hardest_images", "data_profile")},
    }


def _source(problem: ImageProblem, name: str) -> dict[str, Any]:
    """How the set was read."""
    images, layout = problem.images, problem.images.layout
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {
        "name": name,
        "form": images.collection.form,
        "rows": len(images),
        "size": [layout.height, layout.width],
        "channels": layout.channels,
        "any_size": layout.mixed,
        "sizes": images.sizes,
        "classes": dict(zip(images.classes, counts, strict=True)),
        "unreadable": len(images.unreadable),
        "duplicates": problem.duplicates,
        "dropped_as_copies": problem.leaked,
    }


def _documents(recipe: ImageRecipe, problem: ImageProblem, trained: Trained, profile: dict[str, Any]) -> dict[str, bytes]:
    """The texts among the attachments."""
    profile |= {"unreadable": problem.images.unreadable, "sizes": problem.images.sizes}
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    classes = problem.images.classes
    writer.writerow(["image", "true", "predicted", *(f"p({name})" for name in classes)])
    for row, shares in zip(problem.test, trained.predicted, strict=True):
        labels = (classes[problem.images.labels[row]], classes[int(shares.argmax())])
        writer.writerow([problem.images.names[row], *labels, *(f"{share:.6g}" for share in shares)])
    return {
        "recipe.yaml": recipe.to_yaml().encode(),
        "profile.json": json.dumps(profile, ensure_ascii=False, indent=1).encode(),
        "held_out.csv": table.getvalue().encode(),
        "history.json": json.dumps(trained.fit.history, indent=1).encode(),
    }
