"""From a label for each token to entities in the text."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelyard.core.tensors import Array

OUTSIDE = "O"


def entities_of(scores: Array, encoding: Any, text: str, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Neighbouring tokens of one entity joined: by B- and I- where labels have them, otherwise by equal labels.

    ``scores`` are probabilities [tokens, labels]; ``encoding`` knows each token's place in ``text``. The score of an entity is the
    mean over its tokens; the text of the entity stands in ``text`` from ``start`` to ``end`` (characters).
    """
    found: list[dict[str, Any]] = []
    parts: list[float] = []
    for at, (special, (start, end)) in enumerate(zip(encoding.special_tokens_mask, encoding.offsets, strict=True)):
        label = OUTSIDE if special or end <= start else labels[int(np.argmax(scores[at]))]
        begins, entity = label.startswith("B-"), label.removeprefix("B-").removeprefix("I-")
        if label == OUTSIDE:
            parts = []
            continue
        score = float(np.max(scores[at]))
        if parts and not begins and found[-1]["entity"] == entity:
            parts.append(score)
            found[-1] |= {"end": end, "score": sum(parts) / len(parts), "text": text[found[-1]["start"] : end]}
        else:
            parts = [score]
            found.append({"entity": entity, "score": score, "text": text[start:end], "start": start, "end": end})
    return found
