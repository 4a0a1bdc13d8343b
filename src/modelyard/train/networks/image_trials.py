"""Trials of image recipes: the validation loss of their best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modelyard.train.networks.architectures.images import build
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.image_data import ImageExamples, objective_for, pose_images
from modelyard.train.networks.loop import Learner, Step
from modelyard.train.networks.pixels import learn_scaling
from modelyard.train.recipes.images import Augmentation, ImageRecipe
from modelyard.train.recipes.parse import AnyRecipe


class ImageJudge:
    """The images are read and split once; what a recipe may vary changes neither."""

    def __init__(self, data: Path, filename: str, recipe: ImageRecipe, scratch: Path) -> None:
        self._problem = pose_images(data, filename, recipe, scratch / "pixels.npy", lambda *_: None)
        self._scaling = learn_scaling(self._problem.images.pixels, self._problem.train)

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        if not isinstance(recipe, ImageRecipe):
            raise TypeError("This judges recipes for images.")
        problem, layout = self._problem, self._problem.images.layout
        torch.manual_seed(recipe.seed)
        module = build(recipe.network, layout.channels, layout.height, layout.width, len(problem.images.classes))
        device = choose_device(recipe.learning.precision)
        learner = Learner(module, objective_for(problem, recipe), recipe.learning, device, None, seed=recipe.seed, step=step)
        fit = learner.fit(
            ImageExamples(problem, problem.train, self._scaling, recipe.augmentation),
            ImageExamples(problem, problem.validate, self._scaling, Augmentation()),
            lambda *_: None,
        )
        best = fit.history[fit.best_epoch - 1]
        curve = [entry["validation_loss"] for entry in fit.history]
        return best["validation_loss"], {"accuracy": best["validation_accuracy"], "epochs": len(curve), "curve": curve}
