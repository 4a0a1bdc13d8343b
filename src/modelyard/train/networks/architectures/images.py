"""Networks for images: from pixels ``[N, C, H, W]``, scaled, to a score a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modelyard.core.errors import InvalidRequest
from modelyard.train.networks.architectures.tables import feedforward
from modelyard.train.recipes.images import ImageNetwork

TITLES = {"feedforward": "Feed-forward network", "lenet": "LeNet", "residual": "Residual network"}
_UNITS = 8
"""Units of a fully connected layer for each of ``width``."""


def build(wanted: ImageNetwork, channels: int, height: int, width: int, classes: int) -> nn.Module:
    """A network with fresh weights, drawn from PyTorch's generator.

    Raises InvalidRequest when the images are too small for it.
    """
    if wanted.kind == "feedforward":
        return feedforward(channels * height * width, [wanted.width * _UNITS] * wanted.depth, classes, wanted.dropout)
    if wanted.kind == "lenet":
        if min(height, width) < 4:
            raise InvalidRequest(f"LeNet halves images twice, and these are {height}x{width}; set a larger size, or another network.")
        return _lenet(wanted, channels, height, width, classes)
    return Residual(wanted, channels, classes)


def _lenet(wanted: ImageNetwork, channels: int, height: int, width: int, classes: int) -> nn.Sequential:
    first, second = wanted.width, wanted.width * 2
    return nn.Sequential(
        nn.Conv2d(channels, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        feedforward(second * (height // 4) * (width // 4), [wanted.width * _UNITS], classes, wanted.dropout),
    )


class Residual(nn.Module):
    """Three stages of residual blocks; each stage after the first halves the image and doubles the channels."""

    def __init__(self, wanted: ImageNetwork, channels: int, classes: int) -> None:
        super().__init__()
        width = wanted.width
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks: list[nn.Module] = []
        for stage in range(3):
            for at in range(wanted.depth):
                first = stage > 0 and at == 0
                blocks.append(_Block(width, width * 2 if first else width, 2 if first else 1))
                width = width * 2 if first else width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(wanted.dropout), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.blocks(self.stem(images)))
        return scores


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.path(images) + self.shortcut(images))
