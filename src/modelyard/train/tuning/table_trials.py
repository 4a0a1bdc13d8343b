"""How one recipe for a table is judged within the training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.core.errors import JobFailed
from modelyard.datasets.profile import profile_table
from modelyard.datasets.read import read_table
from modelyard.evaluation.metrics import HIGHER_IS_BETTER
from modelyard.train.problem import pose
from modelyard.train.recipes.parse import AnyRecipe
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.search import Search
from modelyard.train.selection.select import select_features
from modelyard.train.tuning.trials import Step


class TableJudge:
    """Cross-validation; the columns are chosen anew, where the recipe chooses any."""

    def __init__(self, data: Path, filename: str, recipe: AnyRecipe, scratch: Path) -> None:
        del scratch
        if not isinstance(recipe, TableRecipe):
            raise TypeError("This judges recipes for tables.")
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
