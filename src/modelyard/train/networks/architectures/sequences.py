"""Networks for sequences: recurrent layers and encoder blocks, which graphs of any number of rows can be made of."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """Layers of cells over ``[rows, steps, inputs]``, to ``[rows, steps, outputs]``.

    A layer that reads from both ends is two that read from one, the second of which is given each row's own steps in reverse: with
    ``lengths`` what follows a row's end changes nothing.
    """

    def __init__(self, cell: str, inputs: int, width: int, depth: int, dropout: float, *, both: bool) -> None:
        super().__init__()
        self.outputs = width * (2 if both else 1)
        sizes = [inputs] + [self.outputs] * (depth - 1)
        self.forwards = nn.ModuleList(_CELLS[cell](size, width, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(_CELLS[cell](size, width, batch_first=True) for size in sizes) if both else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, lengths: Tensor | None = None) -> Tensor:
        for at, layer in enumerate(self.forwards):
            if at:
                steps = self.dropout(steps)
            found = layer(steps)[0]
            if self.backwards is not None:
                found = torch.cat([found, turned(self.backwards[at](turned(steps, lengths))[0], lengths)], dim=2)
            steps = found
        return steps


def turned(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """Each row's steps in reverse; what follows a row's end stays behind it."""
    places = torch.arange(steps.shape[1], device=steps.device)
    if lengths is None:
        return steps.flip(1)
    behind = lengths[:, None] - 1 - places[None, :]
    source = torch.where(behind >= 0, behind, places[None, :])
    return torch.gather(steps, 1, source[:, :, None].expand(-1, -1, steps.shape[2]))


class Encoder(nn.Module):
    """A Transformer encoder over ``[rows, steps, width]``; ``mask`` is true where a step counts."""

    def __init__(self, width: int, depth: int, heads: int, dropout: float, *, longest: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, mask: Tensor | None = None) -> Tensor:
        steps = self.dropout(steps + self.positions[: steps.shape[1]])
        for block in self.blocks:
            steps = block(steps, mask)
        found: Tensor = self.norm(steps)
        return found


class _Block(nn.Module):
    """Attention, then two layers at every step; each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.told = nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, mask: Tensor | None) -> Tensor:
        steps = steps + self.dropout(self._attended(self.first(steps), mask))
        found: Tensor = steps + self.dropout(self.inner(self.second(steps)))
        return found

    def _attended(self, steps: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.asked(steps).chunk(3, dim=2))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -1e9)
        shares = functional.dropout(torch.softmax(scores, dim=3), self.rate, self.training)
        found: Tensor = self.told((shares @ value).transpose(1, 2).flatten(2))
        return found


def mean_of(steps: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the steps that count."""
    if mask is None:
        return steps.mean(dim=1)
    counted = mask[:, :, None].to(steps.dtype)
    return (steps * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1.0)
