"""The table of model families. A third party adds one through the entry point group ``modelyard.trainers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.plugins import PluginTable

if TYPE_CHECKING:
    from modelyard.train.trainers.base import Trainer

_HERE = "modelyard.train.trainers"
_BUILTIN = {
    "linear": f"{_HERE}.linear:TRAINER",
    "ridge": f"{_HERE}.ridge:TRAINER",
    "lasso": f"{_HERE}.lasso:TRAINER",
    "logistic": f"{_HERE}.logistic:TRAINER",
    "svm": f"{_HERE}.svm:TRAINER",
    "tree": f"{_HERE}.tree:TRAINER",
    "forest": f"{_HERE}.forest:TRAINER",
    "boosting": f"{_HERE}.boosting:TRAINER",
    "knn": f"{_HERE}.knn:TRAINER",
    "mlp": f"{_HERE}.mlp:TRAINER",
    "network": f"{_HERE}.network:TRAINER",
}
ON_REQUEST = frozenset({"network"})
"""Families that are tried only when a recipe names them: loading their libraries alone takes longer than a usual search."""

FAMILIES: PluginTable[Trainer] = PluginTable("modelyard.trainers", _BUILTIN, dict.fromkeys(_BUILTIN, "train") | {"network": "torch"})
"""Every family by the name recipes use."""
