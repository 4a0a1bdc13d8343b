"""Language models as Hugging Face saves them: a decoder's weights in safetensors, its configuration and its tokenizer.

Converted without torch, and proven against a forward pass in plain NumPy. A decoder that the conversion does not know is kept as it is
and computed by Transformers; ``vllm`` keeps one for vLLM. What is OpenVINO IR already is taken as it is.
"""

from __future__ import annotations

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_KINDS = ("ForCausalLM", "LMHeadModel")
_IR = ("openvino_model.xml", "openvino_model.bin")
_WORK = "modelyard.importers.decoders"


class Decoder(Importer):
    """See the module. Its files are data; pickled weights are refused, and code beside them is never run."""

    def __init__(self, name: str, reference: str) -> None:
        self.name = name
        self._reference = reference

    def find(self, brought: Brought) -> list[Part]:
        if not brought.has("config.json") or brought.has(_IR[0]):
            return []
        config = brought.document("config.json")
        named = config.get("architectures")
        if not isinstance(named, list) or not named or not str(named[0]).endswith(_KINDS):
            return []
        if "auto_map" in config:
            raise Unsupported("The folder's own code would have to run (auto_map); save the model with a class that Transformers has.")
        return [Part(importer=self.name, entry="config.json", title=f"a language model ({str(named[0])[:60]})")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy(f"{_WORK}:{self._reference}", "llm")(bench)
        return made


class OpenVinoFolder(Importer):
    """A decoder that is OpenVINO IR already, with its tokenizer."""

    name = "openvino"

    def find(self, brought: Brought) -> list[Part]:
        if not brought.has(_IR[0]):
            return []
        missing = [name for name in (_IR[1], "config.json", "tokenizer.json") if not brought.has(name)]
        if missing:
            raise InvalidArtifact(f"The OpenVINO folder has no {missing[0]}; push the whole folder that the export wrote.")
        return [Part(importer=self.name, entry=_IR[0], title="a language model as OpenVINO IR")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy(f"{_WORK}:keep_openvino_folder", "llm")(bench)
        return made


IMPORTER = Decoder("decoder", "convert_decoder_folder")
FOR_VLLM = Decoder("vllm", "keep_for_vllm")
FOLDER = OpenVinoFolder()
