"""Language models as Hugging Face saves them: a decoder's weights in safetensors, its configuration and its tokenizer.

Converted without torch, and proven against a forward pass in plain NumPy.
"""

from __future__ import annotations

from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_KIND = "ForCausalLM"


class Decoder(Importer):
    """See the module. Its files are data; pickled weights are refused."""

    name = "decoder"

    def find(self, brought: Brought) -> list[Part]:
        if not brought.has("config.json"):
            return []
        named = brought.document("config.json").get("architectures")
        if not isinstance(named, list) or not named or not str(named[0]).endswith(_KIND):
            return []
        return [Part(importer=self.name, entry="config.json", title=f"a language model ({str(named[0])[:60]})")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.decoders:convert_decoder_folder", "llm")(bench)
        return made


IMPORTER = Decoder()
