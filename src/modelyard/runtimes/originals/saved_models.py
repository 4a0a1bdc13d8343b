"""TensorFlow SavedModels, by their serving signature."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import tensorflow as tf

from modelyard.core.errors import InvalidArtifact
from modelyard.core.tensors import Array
from modelyard.runtimes.original import Predict, Settings

_SERVING = "serving_default"
_ERRORS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, tf.errors.OpError)


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``."""
    signature = settings.signature
    return calling(open_saved_model(folder), [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs])


def calling(function: Callable[..., Any], names: Sequence[str], outputs: Sequence[str]) -> Predict:
    """A function of named arrays that calls a signature."""

    def call(inputs: dict[str, Array]) -> dict[str, Array]:
        found = function(**{name: tf.constant(inputs[name].tolist() if inputs[name].dtype == object else inputs[name]) for name in names})
        return {name: found[name].numpy() for name in outputs}

    return call


def open_saved_model(folder: Path) -> Any:
    """The serving signature, which keeps its model alive.

    Raises InvalidArtifact.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
    except _ERRORS as error:
        raise InvalidArtifact(f"TensorFlow cannot read the SavedModel: {' '.join(str(error).split())[:300]}") from None
    if _SERVING not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise InvalidArtifact(f"The SavedModel has no signature {_SERVING!r} (it has {known}); save it with signatures=….")
    function = loaded.signatures[_SERVING]
    function.modelyard_keeps = loaded  # its variables are the model's
    return function
