"""Trials of image recipes: the validation loss of their best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.train.networks.image_data import pose_images
from modelyard.train.networks.image_job import lesson_for
from modelyard.train.networks.lesson import try_out
from modelyard.train.networks.loop import Step
from modelyard.train.networks.pixels import learn_scaling
from modelyard.train.recipes.images import ImageRecipe
from modelyard.train.recipes.parse import AnyRecipe


class ImageJudge:
    """The images are read and split once; what a recipe may vary changes neither."""

    def __init__(self, data: Path, filename: str, recipe: ImageRecipe, scratch: Path) -> None:
        self._problem = pose_images(data, filename, recipe, scratch / "pixels.npy", lambda *_: None)
        self._scaling = learn_scaling(self._problem.images.pixels, self._problem.train)

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        if not isinstance(recipe, ImageRecipe):
            raise TypeError("This judges recipes for images.")
        return try_out(lesson_for(self._problem, recipe, self._scaling), recipe.learning, step, score="accuracy")
