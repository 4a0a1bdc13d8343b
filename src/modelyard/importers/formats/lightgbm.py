"""LightGBM models as ``Booster.save_model`` writes them: text."""

from __future__ import annotations

from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part


class LightGbm(Importer):
    """See the module. Its files are data."""

    name = "lightgbm"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        lines = brought.head(path, 64).split(b"\n")
        if lines[0].strip() != b"tree" or not any(line.startswith(b"version=v") for line in lines):
            return []
        return [Part(importer=self.name, entry=path, title="a LightGBM model (text)")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.boosters:convert_lightgbm_file", "boost")(bench)
        return made


IMPORTER = LightGbm()
