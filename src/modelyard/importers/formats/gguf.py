"""Language models as one GGUF file, alone or in a folder with a tokenizer of its own.

``gguf`` converts what OpenVINO computes, with its weights as coarse as they are, and keeps for llama.cpp what it does not;
``llama_cpp`` keeps the file as it is in any case.
"""

from __future__ import annotations

from modelyard.core.errors import InvalidArtifact
from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_MAGIC = b"GGUF"


class Gguf(Importer):
    """See the module. The file is data."""

    def __init__(self, name: str, reference: str) -> None:
        self.name = name
        self._reference = reference

    def find(self, brought: Brought) -> list[Part]:
        found = [path for path in brought.named(".gguf") if "/" not in path]
        if not found:
            return []
        if len(found) > 1:
            raise InvalidArtifact(f"There are {len(found)} GGUF files ({', '.join(found[:3])}); push one of them.")
        if brought.head(found[0], 4) != _MAGIC:
            raise InvalidArtifact(f"{found[0]!r} is no GGUF file: it does not begin with {_MAGIC.decode()!r}.")
        return [Part(importer=self.name, entry=found[0], title="a language model in GGUF")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy(f"modelyard.importers.decoders:{self._reference}", "llm")(bench)
        return made


IMPORTER = Gguf("gguf", "convert_gguf_file")
KEEPER = Gguf("llama_cpp", "keep_gguf_file")
