"""Trials of series recipes: the validation loss of their best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.train.networks.lesson import try_out
from modelyard.train.networks.loop import Step
from modelyard.train.networks.series_data import pose_series, scaling_for
from modelyard.train.networks.series_job import lesson_for
from modelyard.train.recipes.parse import AnyRecipe
from modelyard.train.recipes.series import SeriesRecipe


class SeriesJudge:
    """The file is read and ordered for each trial anew: how long a window is may be searched, too."""

    def __init__(self, data: Path, filename: str, recipe: SeriesRecipe, scratch: Path) -> None:
        del recipe, scratch
        self._data, self._filename = data, filename

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        if not isinstance(recipe, SeriesRecipe):
            raise TypeError("This judges recipes for series.")
        problem = pose_series(self._data, self._filename, recipe)
        score = "accuracy" if problem.classes else "mae"
        return try_out(lesson_for(problem, scaling_for(problem)), recipe.learning, step, score=score)
