"""Folders of Hugging Face encoders: embedding, classification, token classification, rerank."""

from __future__ import annotations

from typing import Any

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.importers.base import Bench, Converted, Importer, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_DECODERS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
_TITLES = {"embed": "an embedding model", "classify": "a text classifier", "tag": "a token classifier", "rerank": "a reranker"}


class HuggingFace(Importer):
    """See the module. With safetensors weights it is data; code beside the weights is never run, and pickled weights need trust."""

    name = "hugging_face"

    def find(self, brought: Brought) -> list[Part]:
        if not brought.has("config.json"):
            return []
        config = brought.document("config.json")
        if "model_type" not in config:
            return []
        architecture = str((config.get("architectures") or [""])[0])
        if architecture.endswith(_DECODERS):
            return []
        if "auto_map" in config:
            raise Unsupported("The folder's own code would have to run (auto_map); export the model to ONNX yourself.")
        if not brought.has("tokenizer.json"):
            raise InvalidArtifact(
                "The folder has no tokenizer.json; save it with AutoTokenizer.from_pretrained(…).save_pretrained(folder)."
            )
        pickles = () if brought.named(".safetensors") else tuple(brought.named(".bin"))
        if not pickles and not brought.named(".safetensors"):
            raise InvalidArtifact("The folder has no weights; save them with model.save_pretrained(folder).")
        task = _task(architecture, config)
        return [
            Part(
                importer=self.name,
                entry="config.json",
                title=f"{_TITLES[task]} of Hugging Face's ({config['model_type']})",
                runs_code="its weights are pickles" if pickles else "",
                pickles=pickles,
                weights=() if pickles else _weights(brought),
                options={"task": task, "text": _settings(brought, task, config)},
            )
        ]

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.text_models:convert", "transformers")(bench)
        return made


IMPORTER = HuggingFace()


def _task(architecture: str, config: dict[str, Any]) -> str:
    if architecture.endswith("ForTokenClassification"):
        return "tag"
    if architecture.endswith("ForSequenceClassification"):
        return "rerank" if len(config.get("id2label") or {"0": "", "1": ""}) == 1 else "classify"
    return "embed"


def _weights(brought: Brought) -> tuple[str, ...]:
    """What transformers reads the model from, without what other libraries read beside it."""
    tensors = [path for path in brought.named(".safetensors") if "/" not in path]
    return ("config.json", *tensors, *(path for path in brought.named(".safetensors.index.json") if "/" not in path))


def _settings(brought: Brought, task: str, config: dict[str, Any]) -> dict[str, Any]:
    """``text.json``, as far as the folder says it."""
    found: dict[str, Any] = {"task": task, "max_tokens": _max_tokens(brought, config), "pad_id": int(config.get("pad_token_id") or 0)}
    if task in {"classify", "tag"}:
        labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        found["labels"] = [str(labels[key]) for key in sorted(labels, key=int)]
        if config.get("problem_type") == "multi_label_classification":
            found["activation"] = "sigmoid"
    if task == "rerank":
        found["activation"] = "sigmoid"
    if task == "embed":
        found |= _pooling(brought)
    return found


def _max_tokens(brought: Brought, config: dict[str, Any]) -> int:
    for path in ("sentence_bert_config.json", "tokenizer_config.json"):
        if brought.has(path):
            document = brought.document(path)
            said = document.get("max_seq_length") or document.get("model_max_length")
            if isinstance(said, int) and 0 < said <= 100_000:
                return said
    return int(config.get("max_position_embeddings") or 512)


def _pooling(brought: Brought) -> dict[str, Any]:
    """How sentence-transformers pools, where the folder is one of its own; the mean otherwise."""
    pooling = next((path for path in brought.files if path.endswith("_Pooling/config.json")), "")
    chosen = brought.document(pooling) if pooling else {}
    kind = "cls" if chosen.get("pooling_mode_cls_token") else "last" if chosen.get("pooling_mode_lasttoken") else "mean"
    normalize = "Normalize" in brought.text("modules.json") if brought.has("modules.json") else False
    return {"pooling": kind, "normalize": normalize}
