"""Small text models made in a moment: random vectors for the words of some texts, so that texts which share words are alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_encoder(folder: Path, texts: Iterable[str], task: str = "embed", size: int = 64, seed: int = 0) -> None:
    """Writes a text model to ``folder``.

    With the task ``embed`` a text's vector is the mean of its words', with ``rerank`` a score is the product of the query's sum and
    the text's. Raises ValueError for another task.
    """
    if task not in {"embed", "rerank"}:
        raise ValueError(f"There is no small encoder for the task {task!r}; embed and rerank there are.")
    words = sorted({word for text in texts for word in re.findall(r"\w+", text.lower())} - set(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(words).save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(seed).standard_normal((len(SPECIAL) + len(words), size), dtype=np.float32) / np.float32(np.sqrt(size))
    table[: len(SPECIAL)] = 0
    onnx.save(_graph(table, task), folder / "model.onnx")
    settings = {"task": "embed", "normalize": True} if task == "embed" else {"task": "rerank", "activation": "sigmoid"}
    (folder / "text.json").write_text(json.dumps({"max_tokens": 256, **settings}))


def _tokenizer(words: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*SPECIAL, *words])}, unk_token="[UNK]"))  # noqa: S106  # a token of text
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _graph(table: NDArray[np.float32], task: str) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"]) for name in _INPUTS]
    weights = [numpy_helper.from_array(table, "table")]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["vectors"])]
    if task == "embed":
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["rows", "tokens", table.shape[1]])
        inputs = inputs[:2]
    else:
        output = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])
        weights += [numpy_helper.from_array(np.array([at], np.int64), name) for name, at in (("one", 1), ("two", 2))]
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["mask", "kinds"], ["second"]),
            helper.make_node("Sub", ["mask", "second"], ["first"]),
            *_summed("first"),
            *_summed("second"),
            helper.make_node("Mul", ["first_sum", "second_sum"], ["products"]),
            helper.make_node("ReduceSum", ["products", "one"], ["score"], keepdims=1),
        ]
    graph = helper.make_graph(nodes, "encoder", inputs, [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _summed(mask: str) -> list[onnx.NodeProto]:
    """The sum of the vectors where ``mask`` is 1."""
    return [
        helper.make_node("Unsqueeze", [mask, "two"], [f"{mask}_column"]),
        helper.make_node("Mul", ["vectors", f"{mask}_column"], [f"{mask}_kept"]),
        helper.make_node("ReduceSum", [f"{mask}_kept", "one"], [f"{mask}_sum"], keepdims=0),
    ]
