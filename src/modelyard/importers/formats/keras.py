"""Keras 3 models (``.keras``)."""

from __future__ import annotations

from typing import Any

from modelyard.core.errors import InvalidArtifact
from modelyard.importers.base import Bench, Converted, Importer, Original, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_FILES = {"config.json", "metadata.json", "model.weights.h5"}
_MOST_LAYERS = 100_000
_NO_PART = frozenset({"utils", "config", "saving", "datasets", "tree"})
"""Of Keras' own modules: what they hold opens files or reaches the network."""


class Keras(Importer):
    """See the module. A configuration that names anything outside Keras, or a Lambda layer, is refused: it would run code."""

    name = "keras"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        if not set(brought.zip_names(path)) >= _FILES:
            return []
        _check(path, brought.zip_document(path, "config.json"))
        return [Part(importer=self.name, entry=path, title="a Keras 3 model")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.keras_models:convert", "keras")(bench)
        return made

    def original(self, bench: Bench) -> Original:
        found: Original = heavy("modelyard.importers.keras_models:original", "keras")(bench)
        return found


IMPORTER = Keras()


def _check(path: str, config: Any) -> None:
    """Raises InvalidArtifact for a Lambda layer and for a class that is not Keras' own."""
    waiting, count = [config], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MOST_LAYERS:
            raise InvalidArtifact(f"The configuration of {path!r} is too large for a model's.")
        if isinstance(item, dict):
            name, module = item.get("class_name"), item.get("module")
            if name in {"Lambda", "__lambda__", "function"} and (name != "function" or module not in {None, "builtins"}):
                raise InvalidArtifact(f"{path!r} holds a Lambda layer or a function of its maker's, which is code; use Keras' own layers.")
            own = module is None or (isinstance(module, str) and module.split(".")[0] in {"keras", "builtins"})
            if isinstance(module, str) and _NO_PART & set(module.split(".")):
                raise InvalidArtifact(
                    f"{path!r} asks for {module}.{name}, which is no part of a model; only Keras' own layers are imported."
                )
            if name is not None and (not own or item.get("registered_name") not in {None, name, "function"}):
                raise InvalidArtifact(f"{path!r} needs {module}.{name}, which is not Keras' own; only Keras' own layers are imported.")
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
