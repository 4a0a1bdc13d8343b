"""Trials of text recipes: the validation loss of their best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.train.networks.device import choose_device
from modelyard.train.networks.loop import Learner, Step
from modelyard.train.networks.text_data import learn_tokens, pose_texts
from modelyard.train.networks.text_job import lesson_for
from modelyard.train.recipes.parse import AnyRecipe
from modelyard.train.recipes.text import TextRecipe


class TextJudge:
    """The texts are read and split for each trial anew; tokens may be searched, too."""

    def __init__(self, data: Path, filename: str, recipe: TextRecipe, scratch: Path) -> None:
        del recipe, scratch
        self._data, self._filename = data, filename

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        if not isinstance(recipe, TextRecipe):
            raise TypeError("This judges recipes for texts.")
        problem = pose_texts(self._data, self._filename, recipe)
        lesson = lesson_for(problem, learn_tokens(problem.of(problem.train), recipe.tokens))
        device = choose_device(recipe.learning.precision)
        learner = Learner(lesson.module, lesson.objective, recipe.learning, device, None, seed=recipe.seed, step=step)
        fit = learner.fit(lesson.train, lesson.validate, lambda *_: None)
        best = fit.history[fit.best_epoch - 1]
        curve = [entry["validation_loss"] for entry in fit.history]
        return best["validation_loss"], {"accuracy": best["validation_accuracy"], "epochs": len(curve), "curve": curve}
