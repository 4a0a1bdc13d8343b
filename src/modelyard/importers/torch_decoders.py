"""Decoders that are kept for Transformers: what the platform computes step by step is compared with one pass of the library itself."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch as torch_library
from numpy.typing import NDArray

from modelyard.core.errors import InvalidArtifact
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.runtimes.generative.conversion import KEPT
from modelyard.runtimes.generative.decoder import Logits, Piece
from modelyard.runtimes.transformers import TorchDecoder

torch: Any = torch_library
_TOKENS, _PROMPT = 48, 16
_SEQUENCES = 2
_TIE = 1e-3
"""Tokens whose log probabilities are that near are equally likely."""
_WANTED = 0.98


def keep_for_transformers(bench: Bench) -> Converted:
    """The folder as it is, without what is not needed.

    Raises InvalidArtifact when the platform's own way through the model differs from the library's.
    """
    weights = sorted(bench.folder.glob("*.safetensors"))
    if not weights:
        raise InvalidArtifact("The folder has no *.safetensors file with weights; save the model with save_pretrained.")
    for path in (*weights, bench.folder / "model.safetensors.index.json", *(bench.folder / name for name in KEPT)):
        if path.is_file():
            shutil.copyfile(path, bench.made / path.name)
    proof = compare(bench.made)
    return Converted(
        entry="config.json",
        format="transformers",
        how=f"Transformers {version('transformers')}, not converted",
        original=_none,
        proven=proof | {"source": "one pass of Transformers over the whole text"},
        environment={name: version(name) for name in ("transformers", "torch")},
        notes=(f"The likeliest token is the same at {proof['agreement']:.1%} of {proof['positions']} positions, computed step by step.",),
    )


def compare(folder: Path) -> dict[str, Any]:
    """Several sequences computed together, a prompt and then token by token, against the library's own pass over each."""
    decoder = TorchDecoder(folder, 1)
    length = min(_TOKENS, decoder.context_length - 1)
    begun = min(_PROMPT, length - 1)
    texts = np.random.default_rng(7).integers(0, decoder.vocabulary, size=(_SEQUENCES, length))
    wanted = _logits(decoder, texts)[:, begun - 1 :]
    for number, tokens in enumerate(texts.tolist()):
        decoder.admit(number, tokens)
    spans = [(0, begun), *[(at, at + 1) for at in range(begun, length)]]
    found = [decoder.forward([Piece(at, tokens[start:end], start) for at, tokens in enumerate(texts.tolist())]) for start, end in spans]
    decoder.close()
    a, b = _log_probabilities(wanted), _log_probabilities(np.stack(found, axis=1))
    chosen = np.take_along_axis(a, b.argmax(axis=-1)[..., None], -1)[..., 0]
    agreement = float((a.max(axis=-1) - chosen <= _TIE).mean())
    if agreement < _WANTED:
        raise InvalidArtifact(f"Step by step the decoder agrees with Transformers' own pass at {agreement:.0%} of positions only.")
    likely = np.argsort(-a, axis=-1)[..., :32]
    errors = np.abs(np.take_along_axis(a, likely, -1) - np.take_along_axis(b, likely, -1))
    return {"positions": int(a.shape[0] * a.shape[1]), "agreement": agreement, "median_error": float(np.median(errors))}


def _logits(decoder: TorchDecoder, texts: Array) -> Logits:
    with torch.inference_mode():
        found: Logits = decoder.whole(torch.tensor(texts)).float().cpu().numpy()
    return found


def _log_probabilities(logits: Logits) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    found: NDArray[np.float64] = wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True)
    return found


def _none(_inputs: dict[str, Array]) -> dict[str, Array]:
    return {}
