"""Exported metrics on their way from workers to whoever shows them: one small file a slot."""

from __future__ import annotations

from pathlib import Path

import msgspec

from modelyard.core.unreadable import UNREADABLE
from modelyard.observability.metrics import Export


def export_path(folder: Path, slot: int) -> Path:
    """Where the worker of a slot keeps its exported metrics."""
    return folder / f"metrics-{slot}.json"


def write_export(path: Path, export: Export) -> None:
    """Replaces a worker's exported metrics as a whole."""
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(export))
    part.replace(path)


def read_export(path: Path) -> Export:
    """A worker's exported metrics; empty when there are none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Export)
    except (OSError, *UNREADABLE):
        return []


def read_exports(folder: Path) -> list[Export]:
    """Exports of all slots, dead workers included: what they counted has happened."""
    return [read_export(path) for path in sorted(folder.glob("metrics-*.json"))]
