"""XGBoost models as ``save_model`` writes them: JSON or UBJSON."""

from __future__ import annotations

from modelyard.core.errors import Unsupported
from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part


class XGBoost(Importer):
    """See the module. Its files are data; the old binary format is refused, because XGBoost itself no longer reads it."""

    name = "xgboost"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        head = brought.head(path, 1024)
        if head.startswith(b"binf"):
            raise Unsupported(f"{path!r} is in the old binary format, which XGBoost dropped in 3.1; save it as .json with an older one.")
        if head[:1] != b"{" or not (b"learner" in head and (b'"learner"' in head or b"L\x00" in head or b"i\x07learner" in head)):
            return []
        kind = "UBJSON" if b"i\x07learner" in head or b"\x00\x07learner" in head else "JSON"
        return [Part(importer=self.name, entry=path, title=f"an XGBoost model ({kind})")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.boosters:convert_xgboost_file", "boost")(bench)
        return made


IMPORTER = XGBoost()
