"""Text models: a tokenizer and an ONNX graph of an encoder, from texts to vectors, labels, entities or scores.

The folder holds the graph, ``tokenizer.json`` and ``text.json`` (``TextSettings``) beside it. Tensors by task:

embed      ``text`` → ``embedding`` FP32 [rows, size]
classify   ``text`` → ``label`` BYTES [rows], ``probabilities`` FP32 [rows, labels]
tag        ``text`` → ``entities`` BYTES [rows], each a JSON list of ``{"entity", "score", "text", "start", "end"}``
rerank     ``query``, ``text`` → ``score`` FP32 [rows]

Inputs are BYTES [rows]; every task gives ``tokens`` INT64 [rows] too, what the model read of each row after truncation.
What a text's tokens are, and the vector of each, are extras: see ``text_extras``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import tokenizers

from modelyard.core.errors import InvalidArtifact
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.entities import entities_of
from modelyard.runtimes.onnx import RUNTIME as ONNX
from modelyard.runtimes.onnx import as_text
from modelyard.runtimes.text_extras import TEXT, VECTORS, Reading, extras

TOKENIZER = "tokenizer.json"
SETTINGS = "text.json"
_MOST_PADDED_TOKENS = 4096
"""Of one run of the graph: beyond it larger runs gain nothing on a CPU and take memory."""
_MOST_WASTE = 1.2
"""Padded tokens over real ones within one run, where runs hold enough tokens to be worth it."""
_FEW_TOKENS = 512
_GRAPH_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class TextTask(StrEnum):
    """What is made of a text."""

    EMBED = "embed"
    CLASSIFY = "classify"
    TAG = "tag"
    RERANK = "rerank"


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``text.json``: what the graph itself does not say."""

    task: TextTask
    max_tokens: int = 512
    """Longer texts are cut off, as at training."""
    pooling: Literal["mean", "cls", "last", "graph"] = "mean"
    """How an embedding is made of the tokens' vectors; ``graph`` when the graph gives one vector a text."""
    normalize: bool = False
    """Whether embeddings are scaled to length 1."""
    labels: tuple[str, ...] = ()
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    """From the graph's numbers to probabilities or scores."""
    output: str = ""
    """Name of the graph's output to read; empty for its first one."""
    pad_id: int = 0


class TextModel(LoadedModel):
    """Tokenizes, runs rows of like length together, and reads the result out. ``infer`` keeps no state between calls."""

    def __init__(self, graph: LoadedModel, tokenizer: tokenizers.Tokenizer, settings: TextSettings) -> None:
        self._graph, self._tokenizer, self._settings = graph, tokenizer, settings
        names = [spec.name for spec in graph.signature.inputs]
        unknown = sorted(set(names) - _GRAPH_INPUTS)
        if unknown or "input_ids" not in names:
            raise InvalidArtifact(
                f"The graph takes {', '.join(names)}; a text model's takes input_ids and may take attention_mask and token_type_ids."
            )
        self._types = {spec.name: spec.datatype.numpy for spec in graph.signature.inputs}
        self._output = _output(graph.signature, settings.output)
        self._reading = Reading(tokenizer)
        self.signature = _signature(settings, self._output)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        texts = [as_text(spec.name, inputs[spec.name]).ravel().tolist() for spec in self.signature.inputs]
        encoded = [self._tokenizer.encode(*row) for row in zip(*texts, strict=True)]
        rows: list[Any] = [None] * len(encoded)
        for chosen in runs([len(item.ids) for item in encoded]):
            found = self._run([encoded[row] for row in chosen])
            for row, value in zip(chosen, found, strict=True):
                rows[row] = value
        outputs = self._outputs(rows, encoded, texts[-1])
        outputs["tokens"] = np.array([len(item.ids) for item in encoded], np.int64)
        return outputs

    def extra(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> dict[str, Array]:
        texts = as_text(TEXT, inputs[TEXT]).ravel().tolist()
        found = {name: self._reading.told(name, texts) for name in wanted if name != VECTORS}
        return found | (self._vectors(texts) if VECTORS in wanted else {})

    def _vectors(self, texts: list[str]) -> dict[str, Array]:
        encoded = [self._tokenizer.encode(text) for text in texts]
        made = np.zeros((len(texts), max(1, *(len(item.ids) for item in encoded)), self._output.wire_shape[-1]), np.float32)
        for chosen in runs([len(item.ids) for item in encoded]):
            for row, vectors in zip(chosen, self._run([encoded[row] for row in chosen]), strict=True):
                made[row, : len(vectors)] = vectors
        return {VECTORS: made}

    def _run(self, encoded: Sequence[tokenizers.Encoding]) -> list[Array]:
        """The graph's output for each text, cut back to its own tokens where there is a row for each of them."""
        width = max(1, *(len(item.ids) for item in encoded))
        feed = {name: np.zeros((len(encoded), width), kind) for name, kind in self._types.items()}
        feed["input_ids"].fill(self._settings.pad_id)
        for row, item in enumerate(encoded):
            count = len(item.ids)
            feed["input_ids"][row, :count] = item.ids
            if "attention_mask" in feed:
                feed["attention_mask"][row, :count] = 1
            if "token_type_ids" in feed:
                feed["token_type_ids"][row, :count] = item.type_ids
        found = self._graph.infer(feed)[self._output.name]
        return [found[row, : len(item.ids)] if found.ndim == 3 else found[row] for row, item in enumerate(encoded)]

    def _outputs(self, rows: list[Array], encoded: list[tokenizers.Encoding], texts: list[str]) -> dict[str, Array]:
        settings = self._settings
        if settings.task is TextTask.EMBED:
            return {"embedding": _embedded(rows, settings, self.signature.output("embedding"))}
        if settings.task is TextTask.TAG:
            found = np.empty(len(rows), object)
            for at, (row, item, text) in enumerate(zip(rows, encoded, texts, strict=True)):
                found[at] = msgspec.json.encode(entities_of(activate(row, "softmax"), item, text, settings.labels)).decode()
            return {"entities": found}
        numbers = np.stack(rows).reshape(len(rows), -1) if rows else np.empty((0, max(1, len(settings.labels))), np.float32)
        scores = activate(numbers, settings.activation).astype(np.float32)
        if settings.task is TextTask.RERANK:
            return {"score": scores[:, 0]}
        labels = np.array(settings.labels, object)[scores.argmax(axis=1)] if rows else np.empty(0, object)
        return {"label": labels, "probabilities": scores}

    def close(self) -> None:
        self._graph.close()


class TextRuntime(Runtime):
    """Loads a graph with ``tokenizer.json`` and ``text.json`` beside it."""

    name = "hf_onnx"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> TextModel:
        beside = (folder / entry).parent
        graph = ONNX.load(folder, entry, options)
        try:
            settings = _settings(beside / SETTINGS)
            tokenizer = _tokenizer(beside / TOKENIZER)
            tokenizer.enable_truncation(settings.max_tokens)
            tokenizer.no_padding()
            return TextModel(graph, tokenizer, settings)
        except InvalidArtifact:
            graph.close()
            raise


RUNTIME = TextRuntime()


def runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows by ascending length, in runs that pad little: a row that is much longer than the run's first begins the next one."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    run: list[int] = []
    real = 0
    for row in order:
        length = max(1, lengths[row])
        padded = length * (len(run) + 1)
        if run and (padded > _MOST_PADDED_TOKENS or (real > _FEW_TOKENS and padded > _MOST_WASTE * (real + length))):
            yield run
            run, real = [], 0
        run.append(row)
        real += length
    if run:
        yield run


def activate(numbers: Array, activation: str) -> Array:
    """Probabilities from a graph's numbers."""
    values = np.asarray(numbers, np.float32)
    if activation == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -80, 80))), np.float32)
    if activation == "softmax":
        raised = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)
    return values


def _embedded(rows: list[Array], settings: TextSettings, spec: TensorSpec) -> Array:
    pooled = np.empty((len(rows), spec.wire_shape[1]), np.float32)
    for at, row in enumerate(rows):
        if settings.pooling == "graph":
            pooled[at] = row
        elif not len(row):
            pooled[at] = 0
        elif settings.pooling == "mean":
            pooled[at] = row.mean(axis=0, dtype=np.float32)
        else:
            pooled[at] = row[0 if settings.pooling == "cls" else -1]
    if settings.normalize:
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    return pooled


def _signature(settings: TextSettings, output: TensorSpec) -> Signature:
    size = output.wire_shape[-1]
    per_token = settings.task is TextTask.TAG or (settings.task is TextTask.EMBED and settings.pooling != "graph")
    if not output.datatype.is_float or len(output.shape) != (3 if per_token else 2) or size < 1:
        wanted = "[rows, tokens, size]" if per_token else "[rows, size]"
        raise InvalidArtifact(
            f"The graph's output {output.name!r} is {output.datatype} {output.wire_shape}; {settings.task} wants {wanted}."
        )
    if settings.task in {TextTask.CLASSIFY, TextTask.TAG} and len(settings.labels) != size:
        raise InvalidArtifact(f"The graph tells {size} labels apart, but {SETTINGS!r} names {len(settings.labels)}; name them all.")
    found = {
        TextTask.EMBED: [TensorSpec(name="embedding", datatype=Datatype.FP32, shape=(-1, size))],
        TextTask.CLASSIFY: [_texts("label"), TensorSpec(name="probabilities", datatype=Datatype.FP32, shape=(-1, size))],
        TextTask.TAG: [_texts("entities")],
        TextTask.RERANK: [TensorSpec(name="score", datatype=Datatype.FP32, shape=(-1,))],
    }
    names = ["query", TEXT] if settings.task is TextTask.RERANK else [TEXT]
    return Signature(
        inputs=tuple(_texts(name) for name in names),
        outputs=(*found[settings.task], TensorSpec(name="tokens", datatype=Datatype.INT64, shape=(-1,))),
        classes=settings.labels if settings.task is TextTask.CLASSIFY else (),
        extras=extras(size if settings.task is TextTask.EMBED and per_token else 0),
    )


def _output(graph: Signature, name: str) -> TensorSpec:
    known = [spec.name for spec in graph.outputs]
    if name and name not in known:
        raise InvalidArtifact(f"{SETTINGS!r} reads the output {name!r}, but the graph gives {', '.join(known)}.")
    return graph.output(name or known[0])


def _texts(name: str) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.BYTES, shape=(-1,))


def _settings(path: Path) -> TextSettings:
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=TextSettings)
    except FileNotFoundError:
        raise InvalidArtifact(f"The file {SETTINGS!r}, which says what the model does with a text, is missing beside the graph.") from None
    except (OSError, *UNREADABLE) as error:
        raise InvalidArtifact(f"{SETTINGS!r} cannot be read: {error}.") from None
    if not 1 <= settings.max_tokens <= 1_000_000:
        raise InvalidArtifact(f"{SETTINGS!r} gives max_tokens as {settings.max_tokens}; it is between 1 and 1000000.")
    return settings


def _tokenizer(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise InvalidArtifact(f"The file {TOKENIZER!r} is missing beside the graph; save it with tokenizer.save_pretrained(folder).")
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE) as error:
        raise InvalidArtifact(f"{TOKENIZER!r} cannot be read: {error}.") from None
    if "model" not in document:
        raise InvalidArtifact(f"{TOKENIZER!r} describes no tokenizer; save it with tokenizer.save_pretrained(folder).")
    # Whatever else is wrong with it the binding tells as a bare Exception, which the trial at push turns into its sentence.
    return tokenizers.Tokenizer.from_file(str(path))
