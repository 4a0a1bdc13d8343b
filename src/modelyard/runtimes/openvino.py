"""Language models as OpenVINO IR on the CPU: paged attention in one compiled model, driven by our own engine.

The folder holds ``openvino_model.xml`` and ``.bin`` (a stateful decoder), ``tokenizer.json``, ``config.json`` and, where they are,
``generation_config.json`` and the chat template.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino._offline_transformations import paged_attention_transformation

from modelyard.core.errors import InvalidArtifact, ModelyardError, Unsupported
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.adapters import ADAPTER, Adapter, apply
from modelyard.runtimes.generative.affinity import several_cores
from modelyard.runtimes.generative.blocks import BlockPool
from modelyard.runtimes.generative.decoder import Decoder, Logits, Piece
from modelyard.runtimes.generative.engine import Engine, EngineOptions
from modelyard.runtimes.generative.text import TextCodec

_WANTED = "sampled_positions"
_CACHE_SHARE = 0.2
"""Of the machine's memory, for what attention keeps."""
_MOST_CACHE = 1 << 30
_MOST_SEQUENCES = 64


class PagedDecoder(Decoder):
    """A compiled decoder whose attention lives in blocks."""

    def __init__(self, path: Path, threads: int, context_length: int) -> None:
        core = ov.Core()
        model = core.read_model(path)
        if (path.parent / ADAPTER).is_dir():
            apply(model, Adapter(path.parent / ADAPTER))
        paged_attention_transformation(model)
        self.vocabulary = _only_wanted_positions(model)
        self.context_length = context_length
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        with several_cores():
            compiled = core.compile_model(model, "CPU", options)
        self._request = compiled.create_infer_request()
        caches = [port for port in compiled.inputs if port.any_name.startswith(("key_cache.", "value_cache."))]
        shapes = [[size.get_length() for size in list(port.partial_shape)[1:]] for port in caches]
        block = shapes[0][1]
        count = _block_count(sum(int(np.prod(shape)) for shape in shapes) * 4, block, context_length)
        for port, shape in zip(caches, shapes, strict=True):
            self._request.set_tensor(port, ov.Tensor(port.element_type, ov.Shape([count, *shape])))
        self._pool = BlockPool(count, block)
        self._ports = {name: compiled.input(name) for name in _INPUTS}

    def admit(self, sequence: int, tokens: Sequence[int]) -> int | None:
        return self._pool.admit(sequence, tokens)

    def grow(self, sequence: int, length: int) -> bool:
        return self._pool.grow(sequence, length)

    def forward(self, pieces: Sequence[Piece]) -> Logits:
        tokens: list[int] = []
        positions: list[int] = []
        begins, block_begins, blocks = [0], [0], []
        for piece in pieces:
            tokens += piece.tokens
            end = piece.past + len(piece.tokens)
            positions += range(piece.past, end)
            begins.append(len(tokens))
            blocks += self._pool.blocks(piece.sequence)[: -(-end // self._pool.size)]
            block_begins.append(len(blocks))
        values = {
            "input_ids": tokens,
            "position_ids": positions,
            "past_lens": [piece.past for piece in pieces],
            "subsequence_begins": begins,
            "block_indices": blocks,
            "block_indices_begins": block_begins,
            "max_context_len": max(piece.past + len(piece.tokens) for piece in pieces),
            _WANTED: [end - 1 for end in begins[1:]],
        }
        for name, value in values.items():
            self._request.set_tensor(self._ports[name], ov.Tensor(np.array(value, dtype=_INPUTS[name])))
        self._request.infer()
        for piece in pieces:
            self._pool.computed(piece.sequence, piece.tokens)
        logits: Logits = self._request.get_output_tensor(0).data.reshape(len(pieces), self.vocabulary)
        return logits.copy()

    def release(self, sequence: int) -> None:
        self._pool.release(sequence)

    def close(self) -> None:
        del self._request


_INPUTS: dict[str, Any] = {
    "input_ids": np.int64,
    "position_ids": np.int64,
    "past_lens": np.int32,
    "subsequence_begins": np.int32,
    "block_indices": np.int32,
    "block_indices_begins": np.int32,
    "max_context_len": np.int32,
    _WANTED: np.int64,
}


class OpenVinoRuntime(Runtime):
    """See the module."""

    name = "openvino"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        path = folder / entry
        if not path.is_file() or not path.with_suffix(".bin").is_file():
            raise InvalidArtifact(f"There is no model {entry!r} with its .bin file; push the whole folder.")
        decoder = attempt(partial(PagedDecoder, path, options.threads, read_context_length(folder)))
        if isinstance(decoder, InvalidArtifact | Unsupported):
            raise decoder
        if isinstance(decoder, ModelyardError):
            raise InvalidArtifact(f"OpenVINO cannot load {entry!r} as a decoder with attention: {_reason(decoder)}.")
        try:
            codec = TextCodec(folder, decoder.vocabulary)
        except ModelyardError:
            decoder.close()
            raise
        return Engine(decoder, codec, EngineOptions(max_sequences=_MOST_SEQUENCES))


def read_context_length(folder: Path) -> int:
    """Tokens that the model's ``config.json`` allows.

    Raises InvalidArtifact.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InvalidArtifact("The model has no config.json; push the whole folder.")
    try:
        length = json.loads(path.read_text(encoding="utf-8"))["max_position_embeddings"]
    except (ValueError, KeyError, TypeError):
        raise InvalidArtifact("The model's config.json does not say max_position_embeddings.") from None
    if not isinstance(length, int) or length < 1:
        raise InvalidArtifact(f"The model's config.json says max_position_embeddings {length!r}; it must be a whole number above 0.")
    return length


def _only_wanted_positions(model: ov.Model) -> int:
    """Makes the model compute logits for the positions that are asked for, not for every token of a prompt; how many logits one has."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    wanted = op.parameter(ov.PartialShape([-1]), ov.Type.i64, name=_WANTED)
    wanted.output(0).get_tensor().set_names({_WANTED})
    gathered = op.gather(node.input_value(0), wanted, op.constant(np.int64(0)))
    node.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()
    return int(model.outputs[0].partial_shape[-1].get_length())


def _block_count(block_bytes: int, block: int, context_length: int) -> int:
    """Blocks for as many full contexts as may run at once, within a share of the machine's memory; at least one context."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    least = -(-context_length // block) + 1
    most = int(min(_MOST_CACHE, memory * _CACHE_SHARE)) // block_bytes
    return max(least, min(most, least * _MOST_SEQUENCES))


def _reason(error: ModelyardError) -> str:
    cause = error.__cause__ if error.__cause__ is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[-1] if lines else type(cause).__name__)[:300].rstrip(".")


RUNTIME = OpenVinoRuntime()
