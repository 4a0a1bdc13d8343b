"""Fitted estimators with the scikit-learn interface, as pickle, joblib or skops files: scikit-learn, XGBoost, LightGBM, CatBoost."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

from modelyard.importers.base import Bench, Converted, Importer, Original, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_SUFFIXES = (".pkl", ".pickle", ".joblib", ".skops", ".sav", ".dat", ".bin", "")
_ENOUGH = 1 << 20
"""bzip2 gives nothing before it has a whole block, which is up to 900 kB."""


class PickledEstimator(Importer):
    """See the module. Pickles can run code; skops files cannot, as long as every type in them is known to skops."""

    name = "sklearn"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        if not path:
            return []
        if is_skops(brought, path):
            return [Part(importer=self.name, entry=path, title="an estimator in a skops file")]
        if PurePosixPath(path).suffix.lower() in _SUFFIXES and is_pickle(brought, path):
            return [pickled_part(self.name, path, "a pickled estimator")]
        return []

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.estimators:convert", "sklearn")(bench)
        return made

    def original(self, bench: Bench) -> Original:
        found: Original = heavy("modelyard.importers.estimators:original", "sklearn")(bench)
        return found


IMPORTER = PickledEstimator()


def pickled_part(importer: str, path: str, title: str) -> Part:
    """A part that is one pickle."""
    return Part(importer=importer, entry=path, title=title, runs_code="a pickle runs whatever code its maker put in", pickles=(path,))


def is_skops(brought: Brought, path: str) -> bool:
    """Whether a file is what ``skops.io.dump`` writes."""
    return "schema.json" in brought.zip_names(path) and b"_skops_version" in brought.zip_member(path, "schema.json")


def is_pickle(brought: Brought, path: str) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later, once it is decompressed as joblib does."""
    head = brought.head(path, _ENOUGH)
    if head.startswith(b"BZh"):
        head = _begun(bz2.BZ2Decompressor().decompress, head)
    elif head.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        head = _begun(lzma.LZMADecompressor().decompress, head)
    elif head.startswith(b"\x1f\x8b"):
        head = _begun(zlib.decompressobj(wbits=31).decompress, head)
    elif head.startswith(b"x"):
        head = _begun(zlib.decompressobj().decompress, head)
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _begun(decompress: Callable[[bytes], bytes], head: bytes) -> bytes:
    try:
        return decompress(head)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return b""
