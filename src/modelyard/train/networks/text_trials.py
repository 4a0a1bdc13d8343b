"""Trials of text recipes: the validation loss of their best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.train.networks.lesson import try_out
from modelyard.train.networks.loop import Step
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
        lesson = lesson_for(problem, recipe, learn_tokens(problem.of(problem.train), recipe.tokens))
        return try_out(lesson, recipe.learning, step, score="accuracy")
