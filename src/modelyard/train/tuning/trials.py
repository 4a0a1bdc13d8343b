"""How one recipe is judged within the training rows: a value, the smaller the better, and a report on the way to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from modelyard.core.errors import JobFailed
from modelyard.core.plugins import load_string
from modelyard.datasets.profile import profile_table
from modelyard.datasets.read import read_table
from modelyard.evaluation.metrics import HIGHER_IS_BETTER
from modelyard.train.problem import pose
from modelyard.train.recipes.parse import AnyRecipe
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.search import Search
from modelyard.train.selection.select import select_features

_NETWORKS = {
    "images": "modelyard.train.networks.image_trials:ImageJudge",
    "series": "modelyard.train.networks.series_trials:SeriesJudge",
    "text": "modelyard.train.networks.text_trials:TextJudge",
}
"""Kind of recipe → what judges its trials; loaded when used, because it needs PyTorch."""

Step = Callable[[int, float], None]
"""Tells a value on the way (epoch, value); raises to give the trial up."""


class Judge(Protocol):
    """Judges recipes on one data set."""

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        """The value, and facts about it for people."""


class TableJudge:
    """Cross-validation; the columns are chosen anew, where the recipe chooses any."""

    def __init__(self, data: Path, filename: str, recipe: TableRecipe) -> None:
        table = read_table(data, recipe.read_options(), filename)
        self._table, self._profiles = table, profile_table(table)

    def __call__(self, recipe: AnyRecipe, step: Step) -> tuple[float, dict[str, Any]]:
        del step  # folds of one recipe are not comparable with those of another in another order
        if not isinstance(recipe, TableRecipe):
            raise TypeError("This judges recipes for tables.")
        problem = pose(self._table, self._profiles, recipe)
        selection = select_features(problem, recipe, lambda *_: None)
        best = Search(selection.problem if selection else problem, recipe, lambda *_: None).run()[0]
        if best.mean is None:
            raise JobFailed(best.note)
        better = HIGHER_IS_BETTER[problem.metric]
        return (-best.mean if better else best.mean), {"family": best.family, "metric": problem.metric, "score": best.mean, "std": best.std}


def open_judge(data: Path, dataset: Mapping[str, Any], recipe: AnyRecipe, scratch: Path) -> Judge:
    """Reads the data once for many trials."""
    name = str(dataset.get("filename") or data.name)
    if isinstance(recipe, TableRecipe):
        return TableJudge(data, name, recipe)
    judge: Judge = load_string(_NETWORKS[recipe.kind])(data, name, recipe, scratch)
    return judge
