"""Texts and conversations as rows to adapt a model with: padded, and with what is to be learned marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from modelyard.datasets.corpus import Document

NOTHING = -100
"""The target of a token that is not learned."""


class Rows:
    """Rows of one length, for the loop."""

    def __init__(self, tokens: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        self._tokens, self._targets = torch.from_numpy(tokens), torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._tokens)

    def batch(self, rows: NDArray[np.intp], random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random  # texts are not varied
        chosen = torch.from_numpy(rows)
        tokens, targets = self._tokens[chosen], self._targets[chosen]
        longest = int((targets != NOTHING).sum(dim=0).nonzero().max()) + 1  # causal: what follows the last target changes nothing
        return (tokens[:, :longest],), targets[:, :longest]

    @property
    def learned(self) -> int:
        """Tokens that are learned."""
        return int((self._targets != NOTHING).sum())


@dataclass(frozen=True)
class LearnedTokens:
    """Cross-entropy of the tokens that are to be learned, in nats: the mean over those of a row."""

    score_name: str = "accuracy"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return learned_losses(outputs, targets).sum(dim=1) / (targets != NOTHING).sum(dim=1).clamp(min=1)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        wanted = targets != NOTHING
        hits = ((outputs.argmax(dim=2) == targets) & wanted).sum(dim=1)
        return float((hits / wanted.sum(dim=1).clamp(min=1)).sum())


def learned_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """``[rows, length]``, 0 where nothing is learned."""
    found = functional.cross_entropy(outputs.float().flatten(0, 1), targets.flatten(), reduction="none", ignore_index=NOTHING)
    return found.view_as(targets)


def rows_of(documents: Sequence[Document], tokenizer: Any, window: int, *, answers: bool) -> Rows:
    """Documents as rows; texts longer than a window are several, conversations are cut off.

    ``tokenizer`` is one of Transformers'. Documents of which nothing is learned are left out.
    """
    tokens, targets = [], []
    for document in documents:
        for ids, learned in _pieces(document, tokenizer, window, answers=answers):
            if not any(learned[1:]):
                continue
            kept = [number if wanted else NOTHING for number, wanted in zip(ids[1:], learned[1:], strict=True)]
            fill = window - len(kept)
            tokens.append([*ids[:-1], *[0] * fill])
            targets.append([*kept, *[NOTHING] * fill])
    shape = (len(tokens), window)
    return Rows(np.array(tokens, np.int64).reshape(shape), np.array(targets, np.int64).reshape(shape))


def _pieces(document: Document, tokenizer: Any, window: int, *, answers: bool) -> list[tuple[list[int], list[bool]]]:
    if not document.turns:
        whole = [*tokenizer(document.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        pieces = [whole[start : start + window + 1] for start in range(0, max(1, len(whole) - 1), window)]
        return [(piece, [True] * len(piece)) for piece in pieces]
    messages = [{"role": role, "content": content} for role, content in document.turns]
    ids: list[int] = []
    learned: list[bool] = []
    for at, message in enumerate(messages):
        assistant = message["role"] == "assistant"
        if assistant or not answers:
            asked = _rendered(tokenizer, messages[:at], prompt=assistant)
            ids, learned = _grown(ids, learned, asked, wanted=not answers)
        ids, learned = _grown(ids, learned, _rendered(tokenizer, messages[: at + 1], prompt=False), wanted=assistant or not answers)
    return [(ids[: window + 1], learned[: window + 1])]


def _rendered(tokenizer: Any, messages: list[dict[str, str]], *, prompt: bool) -> list[int]:
    if not messages and not prompt:
        return []
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _grown(ids: list[int], learned: list[bool], longer: list[int], *, wanted: bool) -> tuple[list[int], list[bool]]:
    """The longer text's tokens, those beyond the old ones learned as said; where it begins otherwise, from there on."""
    same = next((at for at, (old, new) in enumerate(zip(ids, longer, strict=False)) if old != new), min(len(ids), len(longer)))
    return longer, [*learned[:same], *[wanted] * (len(longer) - same)]
