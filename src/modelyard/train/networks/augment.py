"""Training images varied at random: a batch at a time, as plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from modelyard.train.recipes.images import Augmentation

_LUMA = torch.tensor([0.299, 0.587, 0.114])


def augment(images: Tensor, wanted: Augmentation, random: torch.Generator) -> Tensor:
    """Images ``[N, C, H, W]`` from 0 to 255, each changed on its own."""
    moved = _moved(images, wanted, random)
    return _recoloured(moved, wanted.colour, random) if wanted.colour else moved


def _moved(images: Tensor, wanted: Augmentation, random: torch.Generator) -> Tensor:
    """Mirrored, turned, cut and shifted in one step, so that pixels are computed once."""
    count, _, height, width = images.shape
    only_flips = not (wanted.rotation or wanted.crop or wanted.shift)
    flips = torch.ones(count, 2)
    for axis, names in enumerate((("horizontal", "both"), ("vertical", "both"))):
        if wanted.flip in names:
            flips[:, axis] = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0)
    if only_flips:
        for axis, dimension in ((0, 3), (1, 2)):
            mirrored = flips[:, axis] < 0
            if bool(mirrored.any()):
                images = torch.where(mirrored[:, None, None, None], images.flip(dimension), images)
        return images
    angle = _between(count, wanted.rotation, random) * (math.pi / 180)
    scale = 1.0 - torch.rand(count, generator=random) * wanted.crop
    room = torch.stack([1.0 - scale, 1.0 - scale], dim=1)
    moves = (torch.rand(count, 2, generator=random) * 2 - 1) * (room + 2 * wanted.shift)
    ratio = height / width
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    # From where each pixel is taken, in the units of the image: x along rows, y along columns.
    rows = [
        torch.stack([cosine * flips[:, 0], -sine * ratio * flips[:, 1], moves[:, 0]], dim=1),
        torch.stack([sine / ratio * flips[:, 0], cosine * flips[:, 1], moves[:, 1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    varied: Tensor = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return varied


def _recoloured(images: Tensor, most: float, random: torch.Generator) -> Tensor:
    count, channels = images.shape[:2]
    factors = 1.0 + torch.stack([_between(count, most, random) for _ in range(3)])
    brightness, contrast, saturation = factors[:, :, None, None, None]
    bright = images * brightness
    mean = bright.mean(dim=(1, 2, 3), keepdim=True)
    changed = (bright - mean) * contrast + mean
    if channels == 3:
        grey = torch.einsum("nchw,c->nhw", changed, _LUMA)[:, None]
        changed = (changed - grey) * saturation + grey
    kept: Tensor = changed.clamp(0.0, 255.0)
    return kept


def _between(count: int, most: float, random: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=random) * 2 - 1) * most
