"""From a trial to a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.train.recipes.parse import AnyRecipe, parse_recipe
from modelyard.train.recipes.search import Range, SearchPlan

_ALLOWED = {
    "table": ("family", "settings.", "preparation.", "features.select", "features.keep", "features.redundancy"),
    "images": ("network.", "learning.", "augmentation.", "label_smoothing", "class_weights"),
    "series": ("network.", "learning.", "window", "delta", "class_weights"),
    "text": ("network.", "tokens.", "learning.", "label_smoothing", "class_weights"),
}


class Trial(Protocol):
    """What suggests a value; Optuna's trials do."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


def check_space(recipe: AnyRecipe, plan: SearchPlan) -> None:
    """Raises InvalidRequest for a field that cannot be searched, and for a choice that makes no recipe."""
    allowed = _ALLOWED[recipe.kind]
    for name, wanted in plan.space.items():
        if not any(name == start or (start.endswith(".") and name.startswith(start)) for start in allowed):
            raise InvalidRequest(f"The field {name!r} cannot be searched; for {recipe.kind} these can: {', '.join(allowed)}.")
        ends = (wanted.low, wanted.high) if isinstance(wanted, Range) else wanted
        for value in ends:
            varied(recipe, {name: value})


def suggest(trial: Trial, plan: SearchPlan) -> dict[str, Any]:
    """A value for each field. Choices that are no plain words or numbers are told apart by their JSON."""
    found: dict[str, Any] = {}
    for name, wanted in plan.space.items():
        if isinstance(wanted, Range):
            whole = isinstance(wanted.low, int) and isinstance(wanted.high, int)
            ends: Any = (name, wanted.low, wanted.high)
            found[name] = (trial.suggest_int if whole else trial.suggest_float)(*ends, log=wanted.log)
        else:
            found[name] = msgspec.json.decode(trial.suggest_categorical(name, [msgspec.json.encode(choice).decode() for choice in wanted]))
    return found


def varied(recipe: AnyRecipe, values: Mapping[str, Any]) -> AnyRecipe:
    """The recipe with these values, and without a search.

    Raises InvalidRequest when they make no recipe.
    """
    made = recipe.model_dump(mode="json", exclude_defaults=True)
    made.pop("search", None)
    for name, value in values.items():
        *parents, last = ("families",) if name == "family" else name.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = [value] if name == "family" else value
    if "family" in values:
        made["settings"] = {family: settings for family, settings in made.get("settings", {}).items() if family == values["family"]}
    return parse_recipe(made)
