"""An image set as a network sees it: split, scaled, and a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelyard.core.errors import InvalidData, InvalidRequest, did_you_mean
from modelyard.datasets.images.read import ImageSet, ReadOptions, read_images
from modelyard.datasets.split import hold_out
from modelyard.train.cores import cores
from modelyard.train.networks.augment import augment
from modelyard.train.networks.objectives import Classes, class_weights
from modelyard.train.networks.pixels import Resizer, Scaling
from modelyard.train.recipes.images import Augmentation, ImageRecipe

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class ImageProblem:
    """Images, and which of them training may see."""

    images: ImageSet
    train: Rows
    """What steps are made with."""
    validate: Rows
    """What the best epoch is chosen by."""
    test: Rows
    """Held out: judged once, at the end."""
    duplicates: int
    """Images that are there more than once, counted without the first."""
    leaked: int
    """Held-out images that were dropped because training sees the same pixels."""

    @property
    def learned(self) -> Rows:
        """All that training may see."""
        return np.sort(np.concatenate([self.train, self.validate]))

    def class_values(self) -> NDArray[np.generic]:
        """The classes as the model gives them back: words always, because folders are named with words."""
        return np.array(self.images.classes, dtype=object)


def pose_images(path: Path, name: str, recipe: ImageRecipe, store: Path, report: Callable[[float, str], None]) -> ImageProblem:
    """Reads and splits; the same file and recipe give the same split.

    Raises InvalidData or InvalidRequest with one sentence for whatever makes it unsolvable.
    """
    images = read_images(path, name, _options(recipe), store=store, resize=Resizer(), report=report)
    _check_weights(recipe, images)
    learned, test = hold_out(len(images), recipe.test_size, recipe.seed, images.labels)
    copies = images.copies()
    clean = test[~np.isin(copies[test], copies[learned])]
    if not len(clean):
        raise InvalidData(f"Every held-out image of {name} is also among those to learn from; remove the copies.")
    train, validate = hold_out(len(learned), recipe.learning.validation_size, recipe.seed + 1, images.labels[learned])
    return ImageProblem(
        images=images,
        train=learned[train],
        validate=learned[validate],
        test=clean,
        duplicates=int((copies != np.arange(len(copies))).sum()),
        leaked=len(test) - len(clean),
    )


class ImageExamples:
    """Some of the images, for the loop."""

    def __init__(self, problem: ImageProblem, rows: Rows, scaling: Scaling, augmentation: Augmentation) -> None:
        self._pixels, self._rows, self._scaling, self._augmentation = problem.images.pixels, rows, scaling, augmentation
        self._labels = torch.from_numpy(problem.images.labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, rows: Rows, random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        chosen = self._rows[rows]
        images = torch.from_numpy(self._pixels[chosen]).permute(0, 3, 1, 2).float()
        if random is not None and not self._augmentation.none:
            images = augment(images, self._augmentation, random)
        return (self._scaling.apply(images),), self._labels[torch.from_numpy(chosen)]


def objective_for(problem: ImageProblem, recipe: ImageRecipe) -> Classes:
    """Cross-entropy with the weights that the recipe says."""
    if recipe.class_weights == "none":
        return Classes(None, recipe.label_smoothing)
    counts = np.bincount(problem.images.labels[problem.train], minlength=len(problem.images.classes)).tolist()
    chosen = recipe.class_weights
    weights = [chosen.get(name, 1.0) for name in problem.images.classes] if isinstance(chosen, dict) else None
    return Classes(class_weights(counts, weights), recipe.label_smoothing)


def _options(recipe: ImageRecipe) -> ReadOptions:
    most = recipe.most_corrupt if recipe.on_corrupt == "skip" else 0.0
    return ReadOptions(recipe.size, {"auto": 0, "grey": 1, "colour": 3}[recipe.channels], most, cores())


def _check_weights(recipe: ImageRecipe, images: ImageSet) -> None:
    if isinstance(recipe.class_weights, str):
        return
    for name in recipe.class_weights:
        if name not in images.classes:
            raise InvalidRequest(
                f"class_weights names the class {name!r}, which no image has.{did_you_mean(name, images.classes)} "
                f"Classes: {', '.join(images.classes[:20])}."
            )
