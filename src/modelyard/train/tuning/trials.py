"""How one recipe is judged within the training rows: a value, the smaller the better, and a report on the way to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from modelyard.core.plugins import load_string
from modelyard.train.recipes.parse import AnyRecipe

_JUDGES = {
    "table": "modelyard.train.tuning.table_trials:TableJudge",
    "images": "modelyard.train.networks.image_trials:ImageJudge",
    "series": "modelyard.train.networks.series_trials:SeriesJudge",
    "text": "modelyard.train.networks.text_trials:TextJudge",
}
"""Kind of recipe → what judges its trials; loaded when used, because each needs heavy libraries of its own."""

Step = Callable[[int, float], None]
"""Tells a value on the way (epoch, value); raises to give the trial up."""


class Judge(Protocol):
    """Judges recipes on one data set."""

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        """The value, and facts about it for people."""


def open_judge(data: Path, dataset: Mapping[str, Any], recipe: AnyRecipe, scratch: Path) -> Judge:
    """Reads the data once for many trials."""
    name = str(dataset.get("filename") or data.name)
    judge: Judge = load_string(_JUDGES[recipe.kind])(data, name, recipe, scratch)
    return judge
