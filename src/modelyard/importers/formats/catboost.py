"""CatBoost models in its own binary format (``.cbm``), by its own ONNX export."""

from __future__ import annotations

from modelyard.importers.base import Bench, Converted, Importer, Original, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part


class CatBoost(Importer):
    """See the module. Its files are data; models with categories cannot be exported, and are kept as they are."""

    name = "catboost"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        return [Part(importer=self.name, entry=path, title="a CatBoost model")] if brought.head(path, 4) == b"CBM1" else []

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.boosters:convert_catboost_file", "catboost")(bench)
        return made

    def original(self, bench: Bench) -> Original:
        found: Original = heavy("modelyard.importers.kept_catboost:original", "catboost")(bench)
        return found


IMPORTER = CatBoost()
