"""Versions as they are named in paths and bodies."""

from __future__ import annotations

from modelyard.core.models import Reference

DEFAULT = "-"
"""Stands in a path for no version: the champion, or the newest version where there is none."""


def reference(name: str, label: str) -> Reference:
    """The reference that a model's name and a version, an alias, ``latest`` or ``-`` make."""
    return Reference.parse(name if label in {"", DEFAULT} else f"{name}@{label}")
