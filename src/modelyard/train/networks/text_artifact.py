"""A text model as it is served: the graph, the tokenizer and the settings beside it; and the proof that it answers as the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.hf_onnx import RUNTIME, SETTINGS, TOKENIZER, TextSettings, TextTask
from modelyard.train.networks.export import to_onnx
from modelyard.train.networks.text_data import PAD_ID, TextExamples, TextProblem

ENTRY = "model.onnx"
FORMAT = "hf_onnx"
_NAMES = {"input0": "input_ids", "input1": "attention_mask"}
_MOST_ROWS = 1_000
_SINGLE_ROWS = 16
_CLOSE = 1e-3
_AT_ONCE = 64


@dataclass(frozen=True)
class TextProof:
    """What was compared and found."""

    holds: bool
    reason: str
    report: dict[str, Any]


def write_text_model(module: nn.Module, tokenizer: tokenizers.Tokenizer, settings: TextSettings, folder: Path) -> None:
    """Writes what the text runtime loads."""
    longest = settings.max_tokens
    sample = torch.ones((2, min(5, longest)), dtype=torch.int64)
    # Two tensors: one given twice would become one input.
    graph = _named(to_onnx(module, [sample, sample.clone()], longest=longest))
    (folder / ENTRY).write_bytes(graph.SerializeToString(deterministic=True))
    tokenizer.save(str(folder / TOKENIZER))
    (folder / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(settings)))


def settings_for(problem: TextProblem, longest: int, pad: int = PAD_ID) -> TextSettings:
    """What the graph does not say itself."""
    return TextSettings(task=TextTask.CLASSIFY, max_tokens=longest, labels=problem.classes, pad_id=pad)


def answers(module: nn.Module, examples: TextExamples) -> NDArray[np.float64]:
    """Probabilities, as the trainer's own network computes them."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(examples), _AT_ONCE):
            inputs, _ = examples.batch(np.arange(start, min(start + _AT_ONCE, len(examples)), dtype=np.intp), None)
            found.append(torch.softmax(module(*inputs), dim=1).double().numpy())
    return np.concatenate(found)


def prove_texts(folder: Path, problem: TextProblem, predicted: NDArray[np.float64]) -> TextProof:
    """Loads the artifact as a worker would, and gives it the held-out texts as they came, together and one by one."""
    rows = problem.test[:_MOST_ROWS]
    wanted = predicted[: len(rows)]
    texts = np.array(problem.of(rows), object)
    model = RUNTIME.load(folder, ENTRY, LoadOptions(threads=1))
    try:
        found = model.infer({"text": texts})
        alone = [model.infer({"text": texts[at : at + 1]})["probabilities"] for at in range(min(len(rows), _SINGLE_ROWS))]
    finally:
        model.close()
    together = found["probabilities"].astype(np.float64)
    singles = np.concatenate(alone).astype(np.float64)
    labels = np.array(problem.classes, object)[wanted.argmax(axis=1)]
    report = {
        "rows": len(rows),
        "label_agreement": float(np.mean(found["label"] == labels)),
        "largest_difference": float(np.abs(together - wanted).max()),
        "single_row_difference": float(np.abs(singles - together[: len(singles)]).max()),
    }
    told = {"largest_difference": "probabilities", "single_row_difference": "texts alone and together"}
    reasons = [f"{what} differ by {report[key]:.3g}" for key, what in told.items() if not report[key] <= _CLOSE]
    return TextProof(not reasons, "; ".join(reasons), report | {"holds": not reasons})


def _named(graph: ModelProto) -> ModelProto:
    """The inputs under the names that encoders of texts have."""
    for value in graph.graph.input:
        value.name = _NAMES[value.name]
    for node in graph.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = _NAMES.get(name, name)
    return graph
