"""Fitted estimators with the scikit-learn interface, from pickle, joblib or skops files."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.tensors import Array
from modelyard.runtimes.original import Predict, Settings
from modelyard.runtimes.versions import versions

LABEL = "label"
"""Name of the output that says the class."""
_LIBRARIES = ("sklearn.", "xgboost.sklearn.", "lightgbm.sklearn.")
"""Whose classes a skops file may hold besides what skops vouches for; it names classes and functions, and calls none."""
_PLAIN = frozenset({"numpy.dtype", "collections.OrderedDict", "collections.defaultdict", "xgboost.core.Booster", "lightgbm.basic.Booster"})


def open_original(folder: Path, settings: Settings) -> Predict:
    """See ``ORIGINALS``. Options: ``framed``, ``flat`` and ``methods`` of ``calling``."""
    names = [spec.name for spec in settings.signature.inputs]
    options = settings.options
    return calling(
        open_estimator(folder / settings.entry), names, framed=options["framed"], flat=options["flat"], methods=options["methods"]
    )


def calling(estimator: Any, names: Sequence[str], *, framed: bool, flat: bool, methods: Mapping[str, str]) -> Predict:
    """A function from columns (``framed``: as a data frame, otherwise one array, ``flat`` for texts) to what methods give, by output."""

    def call(inputs: dict[str, Array]) -> dict[str, Array]:
        if framed:
            rows: Any = pd.DataFrame({name: inputs[name].reshape(-1) for name in names})
        else:
            rows = inputs[names[0]].reshape(-1) if flat else inputs[names[0]]
        return {name: _answer(name, getattr(estimator, method)(rows)) for name, method in methods.items()}

    return call


def open_estimator(path: Path) -> Any:
    """What a file holds.

    Raises InvalidArtifact for a damaged file, Unsupported for one that needs what is not here.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        if zipped:
            from skops.io import get_untrusted_types, load

            asked = get_untrusted_types(file=path)
            unknown = [name for name in asked if name not in _PLAIN and not name.startswith(_LIBRARIES)]
            if unknown:
                raise Unsupported(f"The skops file holds types that nobody vouches for ({', '.join(unknown[:5])}); leave them out.")
            return load(path, trusted=asked)
        return joblib.load(path)
    except (pickle.UnpicklingError, EOFError) as error:
        raise InvalidArtifact(f"{path.name!r} is damaged ({' '.join(str(error).split())[:120]}); save or upload it again.") from None
    except (AttributeError, ImportError) as error:
        here = ", ".join(f"{name} {number}" for name, number in versions("scikit-learn", "numpy").items())
        raise Unsupported(
            f"{path.name!r} needs code that is not installed here ({' '.join(str(error).split())[:200]}); save it with {here}, or convert "
            "it yourself."
        ) from None


def _answer(name: str, found: Any) -> Array:
    """As an array. Labels that are true and false are 1 and 0: that is how a graph can say them."""
    dense = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    return dense.astype(np.int64) if name == LABEL and dense.dtype == np.bool_ else dense
