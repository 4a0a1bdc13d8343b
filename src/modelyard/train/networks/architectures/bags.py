"""Counted tokens and pairs of them: a linear model that learns from few texts, in less than a second."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_FACTOR = 1_000_003


class Bag(nn.Module):
    """``[rows, tokens]`` and which of them count → ``[rows, classes]``.

    A score a class for each token and for each pair of neighbours, the rarer the heavier, as the vector of a text has the length 1.
    Pairs share places by chance.
    """

    rarity: Tensor
    pair_rarity: Tensor

    def __init__(self, vocabulary: int, pairs: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.words, self.pairs = nn.Embedding(vocabulary, classes), nn.Embedding(max(1, pairs), classes)
        self.bias = nn.Parameter(torch.zeros(classes))
        for table in (self.words, self.pairs):
            nn.init.zeros_(table.weight)
        self.register_buffer("rarity", torch.ones(vocabulary))
        self.register_buffer("pair_rarity", torch.full((max(1, pairs),), 1.0 if pairs else 0.0))
        self.dropout = dropout

    def weigh(self, texts: Iterable[NDArray[np.int64]]) -> None:
        """Learns from tokens of texts how rare each token and pair is."""
        words, pairs = (np.zeros(len(table), np.int64) for table in (self.rarity, self.pair_rarity))
        count = 0
        for tokens in texts:
            count += 1
            words[np.unique(tokens)] += 1
            pairs[np.unique((tokens[:-1] * _FACTOR + tokens[1:]) % len(pairs))] += 1
        for table, numbers in ((self.rarity, words), (self.pair_rarity, pairs)):
            found = torch.from_numpy(np.log((1 + count) / (1 + numbers)) + 1.0).float()
            table.copy_(found * (table > 0))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        counted = attention_mask.to(self.rarity.dtype)
        # What follows the last token is nothing, so that a text of one token has no pair.
        following = functional.pad(input_ids[:, 1:], (0, 1))
        both = functional.pad(counted[:, 1:], (0, 1))
        places = (input_ids * _FACTOR + following) % len(self.pair_rarity)
        words, pairs = self.rarity[input_ids] * counted, self.pair_rarity[places] * both
        length = (words.square().sum(dim=1) + pairs.square().sum(dim=1)).clamp(min=1e-6).rsqrt()
        words, pairs = (functional.dropout(part, self.dropout, self.training) for part in (words, pairs))
        total = (words[:, None] @ self.words(input_ids) + pairs[:, None] @ self.pairs(places))[:, 0]
        found: Tensor = length[:, None] * total + self.bias
        return found
