"""What is in labelled texts, before they are prepared and as they are learned from, and whether the sides of the split know each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.facts import Fact, balance, histogram, outliers, spread
from modelyard.datasets.table import Rows

_PASSAGE = 8
"""Words that two texts have in common by copying, not by chance."""
_SHARED = 0.5
"""Share of a text's passages from which on it is another's near copy."""
_SHORT = 3
_SHOWN = 10


@dataclass(frozen=True)
class TextFacts:
    """What a profile is made of."""

    raw: Sequence[str]
    """The column as it was read."""
    unlabelled: int
    kept: Sequence[str]
    """With a text and a label."""
    rows: Rows
    """Of the file, for each that was kept."""
    labels: NDArray[np.intp]
    classes: tuple[str, ...]
    parts: Mapping[str, Rows]
    """``train``, ``validation`` and ``held_out``, as places in ``kept``."""
    duplicates: int
    dropped: int
    """Held-out copies that were dropped."""
    tokens: NDArray[np.intp]
    """Of each that was kept, before any is cut off."""
    longest: int


def profile_texts(found: TextFacts) -> dict[str, Any]:
    """``facts`` before and after preparation, ``splits`` side by side, ``notes`` for people, and ``panels`` to draw."""
    used = np.concatenate(list(found.parts.values()))
    before, after = (np.array([len(text) for text in texts], np.float64) for texts in (found.raw, [found.kept[at] for at in used]))
    words = [len(text.split()) for text in found.kept]
    near = near_copies(found)
    cut = found.tokens[used] > found.longest
    facts = [
        Fact("rows", len(found.raw), len(used)),
        Fact("without a text", sum(not text.strip() for text in found.raw), 0),
        Fact("without a label", found.unlabelled, 0),
        Fact("copies of another text", found.duplicates, found.duplicates - found.dropped),
        Fact("copies across the split", found.dropped, 0),
        Fact("near copies across the split", len(near), len(near)),
        Fact("characters of a text (5 %, median, 95 %)", spread(before), spread(after)),
        Fact("tokens of a text (5 %, median, 95 %)", None, spread(np.minimum(found.tokens[used], found.longest))),
        Fact("unusually long texts", outliers(np.log1p(before)), outliers(np.log1p(after))),
        Fact(f"texts of fewer than {_SHORT} words", sum(count < _SHORT for count in words), sum(words[at] < _SHORT for at in used)),
        Fact(f"texts cut off at {found.longest} tokens", None, int(cut.sum())),
        Fact("distinct words", len({word.casefold() for text in found.raw for word in text.split()}), None),
    ]
    table, notes = balance(found.labels, found.classes, found.parts)
    if near:
        shown = ", ".join(f"{row + 1}" for row in near[:_SHOWN])
        notes.append(
            f"{len(near)} held-out texts share most of their passages with texts to learn from (data rows {shown}"
            f"{' …' if len(near) > _SHOWN else ''}): scores are better than they will be on new texts."
        )
    if cut.mean() > 0.05:
        notes.append(f"{cut.mean():.0%} of the texts are cut off after {found.longest} tokens; more tokens may say more.")
    panels = [
        {"kind": "balance", "title": "classes", "parts": {row["part"]: row["classes"] for row in table}},
        histogram("tokens of a text", {part: found.tokens[rows].astype(np.float64) for part, rows in found.parts.items()}),
    ]
    return {"facts": [fact.to_json() for fact in facts], "splits": table, "notes": notes, "panels": panels}


def near_copies(found: TextFacts) -> list[int]:
    """File rows of held-out texts that say again what is learned from: most of their passages stand in other texts, too."""
    seen: set[int] = set()
    for part in ("train", "validation"):
        for at in found.parts[part]:
            seen.update(_passages(found.kept[at]))
    near = []
    for at in found.parts["held_out"]:
        passages = _passages(found.kept[at])
        if passages and sum(passage in seen for passage in passages) > _SHARED * len(passages):
            near.append(int(found.rows[at]))
    return near


def _passages(text: str) -> list[int]:
    words = text.casefold().split()
    return [hash(tuple(words[at : at + _PASSAGE])) for at in range(len(words) - _PASSAGE + 1)]
