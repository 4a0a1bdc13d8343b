"""A LoRA adapter laid beside the model that it changes, and proven to change it as it says."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.adapters import ADAPTER, CONFIG, WEIGHTS, Adapter, apply, largest_error
from modelyard.runtimes.generative.conversion import ENTRY, KEPT
from modelyard.runtimes.generative.decoder import Piece
from modelyard.runtimes.openvino import PagedDecoder, read_context_length

_MOST_ERROR = 2e-3
"""What rounding to float16 may cost."""
_POSITIONS = 64


def lay_adapter_beside(base: Path, adapter: Path, made: Path) -> dict[str, Any]:
    """The base's files with the adapter's beside them, in ``made``; the sums that are made when it loads, compared with exact ones.

    Raises InvalidArtifact when the adapter does not fit, or the base has one already.
    """
    for name in (ENTRY, "openvino_model.bin", *KEPT):
        if (base / name).is_file():
            shutil.copyfile(base / name, made / name)
    if (base / ADAPTER).is_dir():
        raise InvalidArtifact("The base has an adapter of its own; name the version without one.")
    (made / ADAPTER).mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(adapter / name, made / ADAPTER / name)
    return _proof(base / ENTRY, made / ENTRY, read_context_length(made)) | {
        "source": "the exact sums of the base's matrices and the adapter's"
    }


def _proof(base: Path, made: Path, context_length: int) -> dict[str, Any]:
    adapter = Adapter(made.parent / ADAPTER)
    plain, changed = _graph(base), _graph(base)
    apply(changed, adapter)
    error = largest_error(plain, changed, adapter)
    if error > _MOST_ERROR:
        raise InvalidArtifact(f"The adapter's sums lose too much in the base's precision (a relative error of {error:.1e}).")
    length = min(_POSITIONS, context_length - 1)
    before, after = _likeliest(base, length, context_length), _likeliest(made, length, context_length)
    moved = float(np.mean(before != after))
    return {"matrices": len(adapter.changes), "largest_error": error, "positions": length, "moved": moved}


def _graph(path: Path) -> ov.Model:
    found = attempt(partial(ov.Core().read_model, path))
    if isinstance(found, ModelyardError):
        raise InvalidArtifact("OpenVINO cannot read the base's graph.")
    return found


def _likeliest(path: Path, length: int, context_length: int) -> NDArray[np.int64]:
    """Of made-up tokens, the same each time."""
    decoder = PagedDecoder(path, 1, context_length)
    tokens = np.random.default_rng(7).integers(0, decoder.vocabulary, size=length).tolist()
    decoder.admit(1, tokens)
    found = [int(decoder.forward([Piece(1, tokens[at : at + 1], at)])[0].argmax()) for at in range(length)]
    decoder.close()
    return np.array(found)
