"""The table of passes. A third party adds one through the entry point group ``modelyard.passes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import NotFound, did_you_mean
from modelyard.core.plugins import PluginTable

if TYPE_CHECKING:
    from modelyard.optimize.base import Pass, Reader

_HERE = "modelyard.optimize.passes"
_BUILTIN = {
    "graph": f"{_HERE}.graph:read",
    "int8": f"{_HERE}.int8:read",
    "prune": f"{_HERE}.prune:read",
    "clip": f"{_HERE}.clip:read",
    "channels": f"{_HERE}.channels:read",
    "int4": f"{_HERE}.int4:read",
    "fp16": f"{_HERE}.fp16:read",
    "finetune": f"{_HERE}.finetune:read",
    "distill": f"{_HERE}.distill:read",
}

PASSES: PluginTable[Reader] = PluginTable("modelyard.passes", _BUILTIN)
"""Every pass by the name that people write."""


def check_pass(text: str) -> None:
    """Raises NotFound, naming the nearest, where ``NAME`` or ``NAME:ARGUMENT`` means no pass; loads none of them."""
    name = text.partition(":")[0]
    if name not in PASSES:
        known = PASSES.names()
        raise NotFound(f"There is no pass {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def read_pass(text: str) -> Pass:
    """The pass that ``NAME`` or ``NAME:ARGUMENT`` means.

    Raises NotFound or InvalidRequest with one sentence.
    """
    name, _, argument = text.partition(":")
    return PASSES.get(name)(argument)
