"""Pictures made of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from modelyard.evaluation.canvas import Picture, render, short

_COLUMNS = 6


def gallery_picture(images: Sequence[ArrayLike], captions: Sequence[str], title: str) -> Picture:
    """Images ``[H, W, C]`` of bytes in rows, each with a few words below."""

    def draw(figure: Figure) -> None:
        figure.suptitle(title)
        rows = -(-len(images) // _COLUMNS)
        panels = np.atleast_1d(figure.subplots(max(rows, 1), _COLUMNS)).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, image, caption in zip(panels, images, captions, strict=False):
            pixels = np.asarray(image, np.uint8)
            axes.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
            axes.set_title(short(caption), fontsize=8)

    return render(draw, (9.0, 0.6 + 1.62 * max(1, -(-len(images) // _COLUMNS))))
