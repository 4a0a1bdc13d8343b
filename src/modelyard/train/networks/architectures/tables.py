"""Networks for rows of numbers."""

from __future__ import annotations

from torch import nn


def feedforward(inputs: int, hidden: list[int], outputs: int, dropout: float) -> nn.Sequential:
    """Fully connected layers with ReLU between them; what comes in any shape is flattened first."""
    layers: list[nn.Module] = [nn.Flatten()]
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU(), nn.Dropout(dropout)]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
