"""Small text models for tests: a tokenizer of whole words, and graphs whose results can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tokenizers
from onnx import helper, numpy_helper
from tokenizers import models, pre_tokenizers, processors

import onnx_graphs

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "anna", "paris", "in"]
TABLE = np.arange(len(WORDS) * 3, dtype=np.float32).reshape(len(WORDS), 3) ** 1.5
"""A vector a word, never the same twice."""


def write_tokenizer(folder: Path) -> None:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Padding and truncation stored by whoever saved it must not show.
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))


def write(folder: Path, settings: dict[str, object], *, pooled: bool = False) -> Path:
    """A folder with a text model: its graph gives each token's vector, or with ``pooled`` their sum over the mask."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    (folder / "text.json").write_text(json.dumps(settings))
    weights = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([1], np.int64), "one")]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["vectors"])]
    output = onnx_graphs.value("vectors", "FP32", "n", "tokens", 3)
    if pooled:
        weights.append(numpy_helper.from_array(np.array([2], np.int64), "two"))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=1),
            helper.make_node("Unsqueeze", ["mask", "two"], ["column"]),
            helper.make_node("Mul", ["vectors", "column"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "one"], ["logits"], keepdims=0),
        ]
        output = onnx_graphs.value("logits", "FP32", "n", 3)
    else:
        nodes.append(helper.make_node("Identity", ["attention_mask"], ["unused"]))
    inputs = [onnx_graphs.value(name, "INT64", "n", "tokens") for name in ("input_ids", "attention_mask")]
    return onnx_graphs.save(folder / "model.onnx", nodes, inputs, [output], weights=weights)


def vectors(text: str) -> np.ndarray:
    """What the graph gives for the tokens of a text of known words."""
    ids = [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split()), 3]
    return TABLE[ids]
