"""Keras 3 models (``.keras``), on Keras' torch backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidArtifact
from modelyard.core.tensors import Array
from modelyard.runtimes.original import Predict, Settings

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when Keras is imported

import keras

ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError, OSError)
"""What Keras raises for a model that it cannot handle."""


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``."""
    signature = settings.signature
    model = open_keras(folder / settings.entry)
    return calling(model, [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs])


def calling(model: Any, names: Sequence[str], outputs: Sequence[str]) -> Predict:
    """A function of named arrays that calls a model with its inputs in order."""

    def call(inputs: dict[str, Array]) -> dict[str, Array]:
        given = [np.array(inputs[name]) for name in names]
        found = model(given[0] if len(given) == 1 else given, training=False)
        many: list[Any] = list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, list | tuple) else [found]
        return {name: item.detach().cpu().numpy() for name, item in zip(outputs, many, strict=True)}

    return call


def open_keras(path: Path) -> Any:
    """The model in a file; nothing in it that is code is run.

    Raises InvalidArtifact.
    """
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except ERRORS as error:
        raise InvalidArtifact(f"Keras cannot read {path.name!r}: {' '.join(str(error).split())[:300]}") from None
