"""Models that others packed: MLflow model folders, MLServer's ``model-settings.json``, TorchServe's ``.mar``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import msgspec

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.importers.base import Bench, Converted, Importer, Original
from modelyard.importers.brought import Brought
from modelyard.importers.formats.catboost import IMPORTER as CATBOOST
from modelyard.importers.formats.keras import IMPORTER as KERAS
from modelyard.importers.formats.lightgbm import IMPORTER as LIGHTGBM
from modelyard.importers.formats.onnx import IMPORTER as ONNX
from modelyard.importers.formats.pickled import is_pickle, is_skops, pickled_part
from modelyard.importers.formats.pytorch import IMPORTER as TORCH
from modelyard.importers.formats.xgboost import IMPORTER as XGBOOST
from modelyard.importers.mlflow_signature import read_signature
from modelyard.importers.spec import Part
from modelyard.runtimes.versions import versions

_FLAVORS = {
    "sklearn": ("pickled_model", "model.pkl"),
    "xgboost": ("data", ""),
    "lightgbm": ("data", ""),
    "catboost": ("data", ""),
    "onnx": ("data", ""),
    "keras": ("data", "data"),
}
"""Flavors with a format of their own: where MLmodel names the file, and its usual name."""
_ENVIRONMENT = ("requirements.txt", "conda.yaml", "python_env.yaml")


class Wrapped(Importer):
    """What it finds is converted by the importer of what is inside."""

    def __init__(self, name: str, marker: str, inner: Callable[[Brought], list[Part]]) -> None:
        self.name, self._marker, self._inner = name, marker, inner

    def find(self, brought: Brought) -> list[Part]:
        return self._inner(brought) if brought.has(self._marker) else []

    def convert(self, bench: Bench) -> Converted:
        raise InvalidArtifact(f"A model of {self.name} is imported by the format of what is inside, not {bench.part.entry!r}.")


def _mlflow(brought: Brought) -> list[Part]:
    """The flavor's own format, or MLflow's function around it. Signature, input example and environment are kept."""
    model = brought.document("MLmodel")
    flavors = model.get("flavors")
    if not isinstance(flavors, dict):
        raise InvalidArtifact("'MLmodel' names no flavors; log the model again.")
    kept: dict[str, Any] = {
        name: model[name] for name in ("signature", "run_id", "model_uuid", "utc_time_created", "mlflow_version") if name in model
    }
    kept["environment"] = {path: brought.text(path) for path in _ENVIRONMENT if brought.has(path)}
    example = model.get("saved_input_example_info") or {}
    if isinstance(example, dict) and brought.has(str(example.get("artifact_path", ""))):
        kept["input_example"] = brought.text(str(example["artifact_path"]))[:100_000]
    reason = ""
    for flavor, (key, usual) in _FLAVORS.items():
        said = flavors.get(flavor)
        if isinstance(said, dict):
            try:
                part = _file(brought, str(said.get(key) or usual))
            except Unsupported as error:
                reason = error.message
                break
            return [msgspec.structs.replace(part, title=f"an MLflow model ({flavor}: {part.title})", kept={"mlflow": kept})]
    function = flavors.get("python_function")
    if not isinstance(function, dict):
        raise Unsupported(
            f"The MLflow model has the flavors {', '.join(map(str, flavors))}; {', '.join(_FLAVORS)} and python_function are imported."
        )
    loader = str(function.get("loader_module") or "of its maker's")[:60]
    return [
        Part(
            importer="mlflow",
            entry="MLmodel",
            title=f"an MLflow function ({loader})",
            runs_code="its maker's code runs whenever it is loaded",
            options={
                "signature": model.get("signature"),
                "reason": reason or f"its flavors ({', '.join(map(str, flavors))}) are served by MLflow only",
            },
            kept={"mlflow": kept},
        )
    ]


def _mlserver(brought: Brought) -> list[Part]:
    settings = brought.document("model-settings.json")
    parameters = settings.get("parameters") or {}
    place = str(parameters.get("uri") or "") if isinstance(parameters, dict) else ""
    others = [path for path in brought.files if not path.endswith("settings.json")]
    if not place and len(others) == 1:
        place = others[0]
    part = _file(brought, place.removeprefix("./"))
    kept = {name: settings[name] for name in ("name", "implementation", "max_batch_size", "max_batch_time", "versions") if name in settings}
    return [msgspec.structs.replace(part, title=f"an MLServer model ({part.title})", kept={"mlserver": kept})]


def _torchserve(brought: Brought) -> list[Part]:
    """An unpacked ``.mar``: its manifest names the serialized file, and its handler is not run."""
    found = brought.document("MAR-INF/MANIFEST.json").get("model")
    model: dict[str, Any] = found if isinstance(found, dict) else {}
    part = _file(brought, str(model.get("serializedFile") or ""))
    handler = model.get("handler")
    notes = (f"The archive's handler {handler!r} is not run: send what the model itself takes.",) if handler else ()
    kept = {name: model[name] for name in ("modelName", "modelVersion", "handler") if name in model}
    return [msgspec.structs.replace(part, title=f"a TorchServe archive ({part.title})", kept={"torchserve": kept}, notes=notes)]


def _file(brought: Brought, path: str) -> Part:
    """The part that one named file, or the only one in a named folder, is."""
    inside = [name for name in brought.files if name == path or name.startswith(f"{path}/")] if path else []
    if not inside:
        raise InvalidArtifact(f"The model's file {path!r} is not among what was pushed.")
    chosen = next((name for name in inside if name.endswith((".onnx", ".keras"))), inside[0])
    alone = _Alone(brought, chosen)
    for importer in (XGBOOST, LIGHTGBM, CATBOOST, KERAS, TORCH, ONNX):
        found = importer.find(alone)
        if found:
            return found[0]
    if is_skops(brought, chosen):
        return Part(importer="sklearn", entry=chosen, title="an estimator in a skops file")
    if is_pickle(brought, chosen):
        return pickled_part("sklearn", chosen, "a pickled estimator")
    raise Unsupported(f"{PurePosixPath(chosen).name!r} is of no format that is imported.")


class MlflowFunction(Wrapped):
    """MLflow models; what no importer converts is served by MLflow's own ``python_function`` in a replica process."""

    def convert(self, bench: Bench) -> Converted:
        raise Unsupported(f"The MLflow model is not converted: {bench.part.options['reason']}.")

    def original(self, bench: Bench) -> Original:
        inputs, outputs, framed = read_signature(bench.part.options.get("signature"))
        return Original(
            library="mlflow",
            files=(),
            inputs=inputs,
            outputs=outputs,
            options={"framed": framed},
            whole=True,
            environment=versions("mlflow-skinny"),
        )


class _Alone(Brought):
    """One file of a folder, looked at as if it were all."""

    def __init__(self, brought: Brought, path: str) -> None:
        super().__init__(brought.folder)
        self.__dict__["files"] = (path,)


MLFLOW = MlflowFunction("mlflow", "MLmodel", _mlflow)
MLSERVER = Wrapped("mlserver", "model-settings.json", _mlserver)
TORCHSERVE = Wrapped("torchserve", "MAR-INF/MANIFEST.json", _torchserve)
