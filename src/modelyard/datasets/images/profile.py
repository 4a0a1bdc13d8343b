"""What is in a set of images, as it came and as it is learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.datasets.facts import Fact, balance, histogram, outliers, spread
from modelyard.datasets.images.read import ImageSet
from modelyard.datasets.table import Rows

_LOOKED_AT = 2_000
"""Images of each side whose pixels are looked at."""


def profile_images(images: ImageSet, parts: Mapping[str, Rows], duplicates: int, dropped: int) -> dict[str, Any]:
    """``facts`` before and after preparation, ``splits``, ``notes`` and ``panels``. ``dropped`` held-out copies are in no part."""
    bright = {part: _brightness(images, rows) for part, rows in parts.items()}
    every = np.concatenate(list(bright.values()))
    table, notes = balance(images.labels, images.classes, parts)
    facts = [
        Fact("images", len(images) + len(images.unreadable), sum(len(rows) for rows in parts.values())),
        Fact("that cannot be read", len(images.unreadable), 0),
        Fact("copies of another image", duplicates, duplicates - dropped),
        Fact("copies across the split", dropped, 0),
        Fact("sizes", len(images.sizes), 1),
        Fact("brightness (5 %, median, 95 %)", None, spread(every)),
        Fact("unusually dark or bright", None, outliers(every)),
    ]
    panels = [
        {"kind": "balance", "title": "classes", "parts": {row["part"]: row["classes"] for row in table}},
        histogram("mean brightness of an image", bright),
    ]
    return {"facts": [fact.to_json() for fact in facts], "splits": table, "notes": notes, "panels": panels}


def _brightness(images: ImageSet, rows: Rows) -> np.ndarray[Any, np.dtype[np.float64]]:
    some = rows[:: max(1, -(-len(rows) // _LOOKED_AT))]
    return np.array([float(images.pixels[row].mean()) for row in some])
