"""CatBoost's own models, as ``.cbm`` files: what its ONNX export cannot say, such as categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import numpy as np

from modelyard.core.errors import InvalidArtifact
from modelyard.core.tensors import Array
from modelyard.runtimes.original import Predict, Settings


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``. It needs no options: the file says which columns hold categories."""
    return calling(open_model(folder / settings.entry), [spec.name for spec in settings.signature.inputs])


def open_model(path: Path) -> Any:
    """Raises InvalidArtifact for a damaged file."""
    model = catboost.CatBoost()
    try:
        model.load_model(str(path))
    except catboost.CatBoostError as error:
        raise InvalidArtifact(f"CatBoost cannot read {path.name!r}: {' '.join(str(error).split())[:300]}.") from None
    return model


def calling(model: Any, names: list[str]) -> Predict:
    """A function from columns, in the model's order, to what it predicts."""
    categories, texts = list(model.get_cat_feature_indices()), list(model.get_text_feature_indices())
    classes = [str(label) for label in model.classes_] if model.classes_ is not None else []

    def call(inputs: dict[str, Array]) -> dict[str, Array]:
        rows = np.empty((len(inputs[names[0]]), len(names)), object)
        for at, name in enumerate(names):
            rows[:, at] = inputs[name].reshape(-1)
        # A fault in the data is a ValueError, as what the model refuses is everywhere else.
        try:
            pool = catboost.Pool(rows, cat_features=categories, text_features=texts)
            if not classes:
                return {"prediction": np.asarray(model.predict(pool, thread_count=1), np.float32)}
            found = np.asarray(model.predict(pool, prediction_type="Probability", thread_count=1), np.float32)
        except catboost.CatBoostError as error:
            raise ValueError(" ".join(str(error).split())[:300]) from None
        labels = np.empty(len(found), object)
        labels[:] = [classes[at] for at in found.argmax(axis=1).tolist()]
        return {"label": labels, "probabilities": found}

    return call
