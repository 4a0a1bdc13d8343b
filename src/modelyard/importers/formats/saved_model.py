"""TensorFlow SavedModels: a folder with ``saved_model.pb`` and its variables."""

from __future__ import annotations

from modelyard.importers.base import Bench, Converted, Importer, Original, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_ENTRY = "saved_model.pb"


class SavedModel(Importer):
    """See the module. Its graph may hold operations that read and write files, so it needs trust."""

    name = "tensorflow"

    def find(self, brought: Brought) -> list[Part]:
        found = [path for path in brought.files if path == _ENTRY or path.endswith(f"/{_ENTRY}")]
        if len(found) != 1:
            return []
        return [
            Part(
                importer=self.name,
                folder=found[0].removesuffix(_ENTRY).rstrip("/"),
                entry=_ENTRY,
                title="a TensorFlow SavedModel",
                runs_code="its graph can read and write files while it is loaded",
            )
        ]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.saved_models:convert", "tensorflow")(bench)
        return made

    def original(self, bench: Bench) -> Original:
        found: Original = heavy("modelyard.importers.saved_models:original", "tensorflow")(bench)
        return found


IMPORTER = SavedModel()
