"""Networks for texts: from numbers of tokens to a score a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modelyard.train.networks.architectures.sequences import Encoder, Recurrent, mean_of
from modelyard.train.recipes.text import TextNetwork

TITLES = {"bag": "Counted tokens and pairs", "transformer": "Transformer encoder", "gru": "GRU", "lstm": "LSTM"}


def title_of(network: TextNetwork) -> str:
    """What people call it."""
    both = network.bidirectional and network.kind in {"gru", "lstm"}
    return f"Bidirectional {TITLES[network.kind]}" if both else TITLES[network.kind]


class TextNet(nn.Module):
    """``[rows, tokens]`` and which of them count → ``[rows, classes]``. What follows a row's end changes nothing."""

    def __init__(self, wanted: TextNetwork, vocabulary: int, longest: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, wanted.width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=wanted.width**-0.5)
        with torch.no_grad():
            self.embedding.weight[0].zero_()
        self.dropout = nn.Dropout(wanted.dropout)
        if wanted.kind == "transformer":
            self.body: nn.Module = Encoder(wanted.width, wanted.depth, wanted.heads, wanted.dropout, longest=longest)
            size = wanted.width
        else:
            self.body = Recurrent(wanted.kind, wanted.width, wanted.width, wanted.depth, wanted.dropout, both=wanted.bidirectional)
            size = self.body.outputs
        # The words themselves stand beside what the network makes of them: few texts teach that much.
        self.head = nn.Sequential(nn.Dropout(wanted.dropout), nn.Linear(size + wanted.width, classes))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask > 0
        words = self.embedding(input_ids)
        steps = self.dropout(words)
        read = self.body(steps, attention_mask.sum(dim=1) if isinstance(self.body, Recurrent) else mask)
        found: Tensor = self.head(torch.cat([mean_of(read, mask), mean_of(words, mask)], dim=1))
        return found
