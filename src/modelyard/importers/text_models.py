"""From Hugging Face encoders to an ONNX graph with its tokenizer beside it. Confined child only."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import numpy as np
import torch
import transformers

from modelyard.core.errors import InvalidArtifact
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted
from modelyard.importers.samples import Domain, Inputs
from modelyard.importers.torch_models import export
from modelyard.runtimes.hf_onnx import SETTINGS, TOKENIZER, TextSettings, TextTask, activate
from modelyard.runtimes.versions import versions

_CLASSES = {
    TextTask.EMBED: "AutoModel",
    TextTask.CLASSIFY: "AutoModelForSequenceClassification",
    TextTask.RERANK: "AutoModelForSequenceClassification",
    TextTask.TAG: "AutoModelForTokenClassification",
}
_WORDS = [
    "the",
    "model",
    "reads",
    "a",
    "sentence",
    "about",
    "birds",
    "and",
    "weather",
    "in",
    "Paris",
    "while",
    "Anna",
    "writes",
    "42",
    "notes",
]
_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError)
_ROWS = 32


def convert(bench: Bench) -> Converted:
    """``model.onnx``, ``tokenizer.json`` and ``text.json``."""
    torch.set_num_threads(1)
    settings = msgspec.convert(bench.part.options["text"], TextSettings)
    try:
        model = getattr(transformers, _CLASSES[settings.task]).from_pretrained(
            bench.folder, local_files_only=True, trust_remote_code=False, attn_implementation="eager", dtype=torch.float32
        )
        fast: Any = transformers.PreTrainedTokenizerFast
        tokenizer = fast(tokenizer_file=str(bench.folder / TOKENIZER))
    except _ERRORS as error:
        raise InvalidArtifact(f"transformers cannot read the folder: {' '.join(str(error).split())[:300]}") from None
    network = _Network(model.eval(), types="token_type_ids" in _takes(model)).eval()
    output = "last_hidden_state" if settings.task is TextTask.EMBED else "logits"
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if network.types else [])]
    example = {name: torch.ones((2, 7), dtype=torch.int64) for name in names}
    varying = [{0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for _ in names]
    export(network, example, bench.made / "model.onnx", [output], dynamo=True, varying=varying)
    shutil.copyfile(bench.folder / TOKENIZER, bench.made / TOKENIZER)
    settings = msgspec.structs.replace(settings, output=output)
    (bench.made / SETTINGS).write_bytes(msgspec.json.encode(settings))
    random = np.random.default_rng(3)
    sentences = tuple(" ".join(random.choice(_WORDS, size=int(size))) for size in random.integers(1, 40, size=64))
    return Converted(
        entry="model.onnx",
        format="hf_onnx",
        how=f"PyTorch {torch.__version__}, dynamo exporter",
        original=_Original(network, tokenizer, settings),
        domains={name: Domain(words=sentences) for name in ("text", "query")},
        rows=_ROWS,
        environment=versions("transformers", "torch", "onnxscript", "tokenizers"),
        notes=("Entities are not compared one by one, only what they are made of.",) if settings.task is TextTask.TAG else (),
    )


class _Network(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # Any where torch is not installed
    """The encoder with its inputs by position and one tensor out."""

    def __init__(self, model: Any, *, types: bool) -> None:
        super().__init__()
        self.model, self.types = model, types

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        more = {"token_type_ids": token_type_ids} if self.types else {}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **more)[0]


class _Original:
    """What transformers gives for texts, one row at a time and so without padding."""

    def __init__(self, network: _Network, tokenizer: Any, settings: TextSettings) -> None:
        self._network, self._tokenizer, self._settings = network, tokenizer, settings

    def __call__(self, inputs: Inputs) -> dict[str, Array]:
        names = ["query", "text"] if self._settings.task is TextTask.RERANK else ["text"]
        rows = [self._row(*row) for row in zip(*(inputs[name].ravel().tolist() for name in names), strict=True)]
        settings, numbers = self._settings, [found for found, _ in rows]
        outputs: dict[str, Array] = {"tokens": np.array([count for _, count in rows], np.int64)}
        if settings.task is TextTask.EMBED:
            outputs["embedding"] = np.stack([self._pooled(found) for found in numbers])
        elif settings.task is TextTask.RERANK:
            outputs["score"] = activate(np.stack(numbers), settings.activation)[:, 0]
        elif settings.task is TextTask.CLASSIFY:
            scores = activate(np.stack(numbers), settings.activation)
            outputs |= {"probabilities": scores, "label": np.array(settings.labels, object)[scores.argmax(axis=1)]}
        return outputs

    def _row(self, *texts: str) -> tuple[Array, int]:
        # As batches of one: a single pair whose second text is empty is taken for no pair.
        encoded = self._tokenizer(
            *([text] for text in texts),
            truncation=True,
            max_length=self._settings.max_tokens,
            return_tensors="pt",
            return_token_type_ids=True,
        )
        with torch.no_grad():
            found = self._network(encoded["input_ids"], encoded["attention_mask"], encoded["token_type_ids"])
        return found[0].numpy(), int(encoded["input_ids"].shape[1])

    def _pooled(self, found: Array) -> Array:
        settings = self._settings
        pooled = found.mean(axis=0) if settings.pooling == "mean" else found[0 if settings.pooling == "cls" else -1]
        return np.asarray(pooled / np.linalg.norm(pooled) if settings.normalize else pooled)


def _takes(model: Any) -> tuple[str, ...]:
    return tuple(model.forward.__code__.co_varnames[: model.forward.__code__.co_argcount]) or ()
