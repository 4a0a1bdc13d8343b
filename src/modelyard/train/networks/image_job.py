"""One image training from file to proved graph: read, split, learn, export, prove, evaluate, draw, write."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from modelyard.core.errors import JobFailed
from modelyard.evaluation.calibration import calibration_bins, calibration_error
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import classification_intervals
from modelyard.evaluation.metrics import classification_metrics, confusion, per_class
from modelyard.train.job import Context
from modelyard.train.naming import model_name
from modelyard.train.networks.architectures.images import TITLES, build
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.image_data import ImageExamples, ImageProblem, objective_for, pose_images
from modelyard.train.networks.image_graph import ImageProof, build_image_graph, prove_images
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.pixels import Scaling, learn_scaling
from modelyard.train.recipes.images import Augmentation, ImageRecipe
from modelyard.train.recipes.parse import parse_image_recipe

logger = logging.getLogger(__name__)
_SPANS = {"read": (0.0, 0.08), "learn": (0.08, 0.9), "export": (0.9, 0.95), "evaluate": (0.95, 0.99)}
"""The share of the whole that each stage takes."""
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
    dataset: Mapping[str, Any] = context.spec.get("dataset") or {}
    path = context.inputs["data"]
    name = str(dataset.get("filename") or path.name)
    output = context.folder / "output"
    for part in ("artifact", "attachments"):
        (output / part).mkdir(parents=True, exist_ok=True)

    def report(stage: str, fraction: float, message: str) -> None:
        first, last = _SPANS[stage]
        context.report(stage, round(first + (last - first) * fraction, 4), message)

    device = choose_device(recipe.learning.precision)
    report("read", 0.0, f"reading {name}")
    store = output / "pixels.npy"
    problem = pose_images(path, name, recipe, store, lambda share, told: report("read", share, told))
    _tell(problem, name)
    with Illustrator(output / "attachments") as illustrator:
        checkpoints = Checkpoints(context.state, _fingerprint(recipe, dataset, problem), recipe.learning.checkpoint_seconds)
        trained = _learn(problem, recipe, device, checkpoints, scratch=context.folder / "team", report=report)
        report("evaluate", 0.0, f"evaluating on {len(problem.test):,} held-out images")
        metrics, evaluation = _evaluate(problem, trained.predicted, recipe, illustrator)
        history = trained.fit.history
        illustrator.draw("learning", "learning_curves", history=history, best=trained.fit.best_epoch, score="accuracy")
        (output / "artifact" / "model.onnx").write_bytes(trained.graph)
        for title, content in _documents(recipe, problem, trained).items():
            (output / "attachments" / title).write_bytes(content)
        illustrator.finish()
    store.unlink()
    context.report("done", 1.0, f"{TITLES[recipe.network.kind]} is ready")
    return {
        "model": recipe.name or model_name(str(dataset.get("name") or name)),
        "entry": "model.onnx",
        "format": "onnx",
        "metrics": metrics,
        "report": _report(problem, recipe, trained) | {"source": _source(problem, name), "evaluation": evaluation},
        "classes": list(problem.images.classes),
        "dataset_digest": str(dataset.get("digest") or ""),
    }


def _tell(problem: ImageProblem, name: str) -> None:
    images, layout = problem.images, problem.images.layout
    logger.info(
        "%s: %d images of %d classes, as %dx%dx%d", name, len(images), len(images.classes), layout.height, layout.width, layout.channels
    )
    for title, reason in images.unreadable.items():
        logger.warning("left out: %s: %s", title, reason)
    if problem.leaked:
        logger.warning("%d held-out images are copies of ones to learn from; they were dropped", problem.leaked)


def _fingerprint(recipe: ImageRecipe, dataset: Mapping[str, Any], problem: ImageProblem) -> str:
    """What must be the same for a checkpoint to be of any use; how fast to learn, and for how long, may change."""
    layout = problem.images.layout
    facts = [
        str(dataset.get("digest") or ""),
        recipe.network.model_dump(mode="json"),
        [recipe.seed, recipe.test_size, recipe.learning.validation_size, recipe.learning.batch_size, recipe.learning.accumulation],
        [recipe.learning.workers, recipe.learning.sharded],
        [layout.height, layout.width, layout.channels, list(problem.images.classes), len(problem.train)],
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _learn(problem: ImageProblem, recipe: ImageRecipe, device: Device, checkpoints: Checkpoints, *, scratch: Path, report: Any) -> Trained:
    layout, classes = problem.images.layout, len(problem.images.classes)
    scaling = learn_scaling(problem.images.pixels, problem.train)
    torch.manual_seed(recipe.seed)
    module = build(recipe.network, layout.channels, layout.height, layout.width, classes)
    logger.info(
        "%s with %d weights on %s", TITLES[recipe.network.kind], sum(weight.numel() for weight in module.parameters()), device.title
    )
    lesson = Lesson(
        module,
        objective_for(problem, recipe),
        ImageExamples(problem, problem.train, scaling, recipe.augmentation),
        ImageExamples(problem, problem.validate, scaling, Augmentation()),
        recipe.seed,
    )
    fit = learn(lesson, recipe.learning, device, checkpoints, scratch=scratch, report=lambda share, told: report("learn", share, told))
    report("export", 0.0, "making one graph from bytes to classes")
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
        captions=[f"{images.classes[truth[at]]} → {images.classes[chosen[at]]} {predicted[at].max():.0%}" for at in order],
        title="Held-out images that are hardest: true → predicted class, probability",
    )
    details = {
        "classes": per_class(truth, chosen, images.classes),
        "confusion_matrix": {"classes": list(images.classes), "counts": counts.tolist()},
        "intervals": classification_intervals(truth, predicted, recipe.seed),
        "calibration": {"error": error, "bins": bins},
        "mistakes": [
            {"name": images.names[problem.test[at]], "true": images.classes[truth[at]], "predicted": images.classes[chosen[at]]}
            for at in order
            if truth[at] != chosen[at]
        ],
    }
    return classification_metrics(truth, predicted) | {"calibration_error": error}, details


def _report(problem: ImageProblem, recipe: ImageRecipe, trained: Trained) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    fit = trained.fit
    return {
        "task": "image classification",
        "family": recipe.network.kind,
        "family_title": TITLES[recipe.network.kind],
        "settings": recipe.network.model_dump(mode="json"),
        "weights": sum(weight.numel() for weight in trained.module.parameters()),
        "metric": recipe.metric,
        "rows": {"train": len(problem.train), "validation": len(problem.validate), "held_out": len(problem.test)},
        "training": {
            "device": trained.device.title,
            "workers": recipe.learning.workers,
            "epochs": len(fit.history),
            "best_epoch": fit.best_epoch,
            "stopped_early": fit.stopped_early,
            "resumed_at": fit.resumed_at,
            "history": fit.history,
        },
        "proof": trained.proof.report,
        "seed": recipe.seed,
        "plots": {name: f"{name}.svg" for name in ("confusion_matrix", "learning_curves", "calibration", "hardest_images")},
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


def _documents(recipe: ImageRecipe, problem: ImageProblem, trained: Trained) -> dict[str, bytes]:
    """The texts among the attachments."""
    profile = {"unreadable": problem.images.unreadable, "sizes": problem.images.sizes}
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
