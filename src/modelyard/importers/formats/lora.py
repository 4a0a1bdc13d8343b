"""LoRA adapters as peft saves them, for a language model that is a version already: the child serves both, merged as it loads."""

from __future__ import annotations

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import BASE, Part

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_IR = "openvino_model.xml"


class Lora(Importer):
    """See the module. Its files are data."""

    name = "lora"

    def find(self, brought: Brought) -> list[Part]:
        if not brought.has(_CONFIG):
            return []
        config = brought.document(_CONFIG)
        kind = str(config.get("peft_type"))
        if kind != "LORA":
            raise Unsupported(f"The adapter is of the kind {kind[:40]!r}; LORA is served.")
        if not brought.has(_WEIGHTS):
            raise InvalidArtifact(f"The adapter has no {_WEIGHTS}; save it with save_pretrained, in safetensors.")
        if not brought.has(f"{BASE}/{_IR}"):
            said = str(config.get("base_model_name_or_path") or "")
            trained = f" (it was trained on {said[:80]!r})" if said else ""
            raise InvalidArtifact(
                f"An adapter needs the version that it changes{trained}: push that first as a language model that OpenVINO computes, "
                "then the adapter with --base NAME@VERSION."
            )
        return [Part(importer=self.name, entry=_CONFIG, title="a LoRA adapter")]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.adapters:merge", "llm")(bench)
        return made


IMPORTER = Lora()
