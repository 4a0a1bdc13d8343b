"""The table of formats that people bring."""

from __future__ import annotations

from modelyard.core.errors import InvalidArtifact, InvalidRequest, Unsupported, did_you_mean
from modelyard.core.plugins import PluginTable
from modelyard.importers.base import Importer
from modelyard.importers.brought import Brought
from modelyard.importers.spec import AUTO, Part

_FORMATS = "modelyard.importers.formats"
IMPORTERS: PluginTable[Importer] = PluginTable(
    "modelyard.importers",
    {
        "mlflow": f"{_FORMATS}.wrapped:MLFLOW",
        "triton": f"{_FORMATS}.triton:IMPORTER",
        "mlserver": f"{_FORMATS}.wrapped:MLSERVER",
        "torchserve": f"{_FORMATS}.wrapped:TORCHSERVE",
        "hugging_face": f"{_FORMATS}.hugging_face:IMPORTER",
        "tensorflow": f"{_FORMATS}.saved_model:IMPORTER",
        "keras": f"{_FORMATS}.keras:IMPORTER",
        "torch": f"{_FORMATS}.pytorch:IMPORTER",
        "sklearn": f"{_FORMATS}.pickled:IMPORTER",
        "xgboost": f"{_FORMATS}.xgboost:IMPORTER",
        "lightgbm": f"{_FORMATS}.lightgbm:IMPORTER",
        "catboost": f"{_FORMATS}.catboost:IMPORTER",
        "openvino": f"{_FORMATS}.decoder:FOLDER",
        "decoder": f"{_FORMATS}.decoder:IMPORTER",
        "vllm": f"{_FORMATS}.decoder:FOR_VLLM",
        "lora": f"{_FORMATS}.lora:IMPORTER",
        "gguf": f"{_FORMATS}.gguf:IMPORTER",
        "llama_cpp": f"{_FORMATS}.gguf:KEEPER",
        "onnx": f"{_FORMATS}.onnx:IMPORTER",
    },
)
"""Formats by name, in the order in which they are asked; what wraps other formats comes first."""
_ADVICE = {
    ".onnx": "push it as it is, without a format",
    ".h5": "load it with Keras 3 and save it as .keras",
    ".hdf5": "load it with Keras 3 and save it as .keras",
    ".pt": "export it with torch.export, or push the module's file with safetensors weights",
    ".pth": "export it with torch.export, or push the module's file with safetensors weights",
    ".bin": "save the weights as safetensors",
    ".mlmodel": "convert it to ONNX first",
    ".pmml": "convert it to ONNX first",
    ".rds": "convert it to ONNX first",
}


def recognise(brought: Brought, wanted: str = AUTO) -> list[Part]:
    """The models in what was brought.

    Raises InvalidRequest for an unknown format, InvalidArtifact when the content is not of the wanted one, Unsupported when it is of
    none that is known.
    """
    names = list(IMPORTERS)
    if wanted not in {AUTO, ""}:
        if wanted not in names:
            raise InvalidRequest(f"There is no format {wanted!r}.{did_you_mean(wanted, names)} Formats: {', '.join(names)}.")
        parts = IMPORTERS.get(wanted).find(brought)
        if not parts:
            raise InvalidArtifact(f"This is no model of the format {wanted!r} ({_shown(brought)}); leave the format out to have it found.")
        return parts
    for name in names:
        parts = IMPORTERS.get(name).find(brought)
        if parts:
            return parts
    suffix = next((suffix for suffix in _ADVICE if brought.named(suffix)), "")
    advice = f" {brought.named(suffix)[0]!r}: {_ADVICE[suffix]}." if suffix else ""
    raise Unsupported(f"No known format of a model was found in {_shown(brought)}.{advice} Known: {', '.join(names)}.")


def _shown(brought: Brought) -> str:
    files = brought.files
    return f"{', '.join(files[:3])}{' …' if len(files) > 3 else ''}"
