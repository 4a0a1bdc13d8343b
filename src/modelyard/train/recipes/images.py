"""The recipe of an image classification."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.part import Part, Recipe
from modelyard.train.recipes.search import SearchPlan

Size = Annotated[int, Field(ge=1, le=4096)]
ImageMetric = Literal["accuracy", "f1_macro", "f1_weighted", "roc_auc", "log_loss"]


class ImageNetwork(Part):
    """Which network, and how large."""

    kind: Literal["feedforward", "lenet", "residual"] = "residual"
    """Fully connected layers; two convolutions with pooling and two layers; or residual blocks of convolutions."""
    width: int = Field(default=16, ge=1, le=1024)
    """Channels of the first convolution; later ones have more. For ``feedforward`` 8 times as many units a layer."""
    depth: int = Field(default=2, ge=1, le=16)
    """Hidden layers of ``feedforward``; residual blocks in each of the three stages of ``residual``."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """The share of values that each step leaves out before the last layers."""


class Augmentation(Part):
    """How training images are varied, each one anew in every epoch. Nothing of this happens to images that are judged or served."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Half of the images are mirrored."""
    rotation: float = Field(default=0.0, ge=0, le=180)
    """Up to so many degrees either way."""
    crop: float = Field(default=0.0, ge=0, lt=0.9)
    """Up to this share of the width and height is cut away, and the rest enlarged."""
    shift: float = Field(default=0.0, ge=0, le=0.5)
    """Moved by up to this share of the width and height."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Brightness, contrast and saturation change by up to this share."""

    @property
    def none(self) -> bool:
        return self == Augmentation()


class ImageRecipe(Recipe):
    """Classes of images: from a folder with a sub-folder a class, an ``.npz`` file, or IDX files.

    The metrics of the version are those of held-out images. The same recipe and data on the same machine give the same model.
    """

    kind: Literal["images"]
    """A folder, an ``.npz`` file, or IDX files."""
    size: tuple[Size, Size] | None = None
    """Height and width that the network sees; by default those of the images, or their median up to 224 where they differ."""
    channels: Literal["auto", "grey", "colour"] = "auto"
    """``auto`` sees colour where any image has it."""
    on_corrupt: Literal["skip", "refuse"] = "skip"
    """Whether files that are no readable image are listed and left out, or end the job."""
    most_corrupt: float = Field(default=0.1, ge=0, le=1)
    """The largest share of unreadable files that may be left out."""
    network: ImageNetwork = ImageNetwork()
    augmentation: Augmentation = Augmentation()
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced`` makes rare classes count as much as frequent ones; or a weight for each class."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each label that is spread over all classes."""
    learning: Learning = Learning()
    search: SearchPlan | None = None
    """Fields of this recipe to search over."""
    metric: ImageMetric = "accuracy"
    """What children of the version are judged by."""
