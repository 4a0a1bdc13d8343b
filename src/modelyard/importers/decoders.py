"""What imports of language models do once their libraries are there."""

from __future__ import annotations

from importlib.metadata import version

import msgspec

from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.runtimes.generative.conversion import ENTRY, Proof, convert_decoder

_LIBRARIES = ("openvino", "openvino-genai", "gguf")


def convert_decoder_folder(bench: Bench) -> Converted:
    """A Hugging Face decoder as OpenVINO IR."""
    proof = convert_decoder(bench.folder, bench.made)
    return Converted(
        entry=ENTRY,
        format="openvino",
        how=f"OpenVINO {version('openvino')}",
        original=_none,
        proven=msgspec.to_builtins(proof) | {"source": "a forward pass in NumPy"},
        environment={name: version(name) for name in _LIBRARIES},
        notes=(_said(proof),),
    )


def _said(proof: Proof) -> str:
    return (
        f"The likeliest token is the same at {proof.agreement:.1%} of {proof.positions} positions; "
        f"log probabilities differ by {proof.median_error:.4f} in the median."
    )


def _none(_inputs: dict[str, Array]) -> dict[str, Array]:
    return {}
