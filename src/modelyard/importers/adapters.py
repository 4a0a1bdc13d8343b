"""LoRA adapters as peft saves them, brought for a version that is there."""

from __future__ import annotations

from importlib.metadata import version

from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.importers.spec import BASE
from modelyard.runtimes.generative.adapted import lay_adapter_beside
from modelyard.runtimes.generative.conversion import ENTRY

_LIBRARIES = ("openvino", "safetensors")


def merge(bench: Bench) -> Converted:
    """The base's files with the adapter's beside them; the sums that are made when it loads are compared with exact ones."""
    proof = lay_adapter_beside(bench.folder / BASE, bench.folder, bench.made)
    return Converted(
        entry=ENTRY,
        format="openvino",
        how=f"OpenVINO {version('openvino')}, {proof['matrices']} matrices changed as it loads",
        original=_none,
        proven=proof,
        environment={name: version(name) for name in _LIBRARIES},
        notes=(f"The likeliest token is another one than the base's at {proof['moved']:.1%} of {proof['positions']} positions.",),
    )


def _none(_inputs: dict[str, Array]) -> dict[str, Array]:
    return {}
