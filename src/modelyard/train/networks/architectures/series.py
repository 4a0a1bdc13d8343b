"""Networks for windows of a series: from scaled columns to scaled forecasts, or to what the window is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modelyard.train.networks.architectures.sequences import Encoder, Recurrent, mean_of
from modelyard.train.recipes.series import SeriesNetwork

TITLES = {
    "linear": "Linear map of the window",
    "rnn": "Recurrent network",
    "lstm": "LSTM",
    "gru": "GRU",
    "transformer": "Transformer encoder",
}


def title_of(network: SeriesNetwork) -> str:
    """What people call it."""
    both = network.bidirectional and network.kind in {"rnn", "lstm", "gru"}
    return f"Bidirectional {TITLES[network.kind]}" if both else TITLES[network.kind]


class SeriesNet(nn.Module):
    """``[rows, window, columns]`` and what is known ahead ``[rows, facts]`` → ``[rows, outputs]``."""

    def __init__(self, wanted: SeriesNetwork, window: int, columns: int, facts: int, outputs: int) -> None:
        super().__init__()
        self.kind = wanted.kind
        size = 0
        if wanted.kind == "transformer":
            self.entry = nn.Linear(columns, wanted.width)
            self.body: nn.Module = Encoder(wanted.width, wanted.depth, wanted.heads, wanted.dropout, longest=window)
            size = 2 * wanted.width
        elif wanted.kind != "linear":
            self.body = Recurrent(wanted.kind, columns, wanted.width, wanted.depth, wanted.dropout, both=wanted.bidirectional)
            size = self.body.outputs
        self.line = nn.Linear(window * columns + facts, outputs) if wanted.kind == "linear" or wanted.linear_path else None
        if self.line is not None and size:
            # The network begins with what it says itself; the line is learned from nothing.
            nn.init.zeros_(self.line.weight)
        self.head = nn.Sequential(nn.Dropout(wanted.dropout), nn.Linear(size + facts, outputs)) if size else None

    def forward(self, window: Tensor, facts: Tensor | None = None) -> Tensor:
        found: Tensor | None = None
        if self.line is not None:
            found = self.line(_beside(window.flatten(1), facts))
        if self.head is not None:
            said = self.head(_beside(self._read(window), facts))
            found = said if found is None else found + said
        if found is None:
            raise TypeError("a network without parts")
        return found

    def _read(self, window: Tensor) -> Tensor:
        if self.kind == "transformer":
            steps = self.body(self.entry(window))
            return torch.cat([steps[:, -1], mean_of(steps, None)], dim=1)
        steps = self.body(window)
        if isinstance(self.body, Recurrent) and self.body.backwards is not None:
            half = self.body.outputs // 2
            # Each direction counts where it has seen the whole window.
            return torch.cat([steps[:, -1, :half], steps[:, 0, half:]], dim=1)
        last: Tensor = steps[:, -1]
        return last


def _beside(values: Tensor, facts: Tensor | None) -> Tensor:
    return values if facts is None else torch.cat([values, facts], dim=1)
