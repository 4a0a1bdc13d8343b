"""A LoRA adapter from text to a child version: read, split, learn, lay beside the base, judge both."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers as library
from numpy.typing import NDArray
from torch import Tensor, nn

from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.datasets.corpus import Corpus, read_corpus
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import language_intervals
from modelyard.evaluation.metrics import language_metrics
from modelyard.runtimes.generative.adapted import lay_adapter_beside
from modelyard.runtimes.generative.conversion import ENTRY
from modelyard.train.adapted import Adapted
from modelyard.train.job import Context
from modelyard.train.language.conversations import LearnedTokens, Rows, learned_losses, rows_of
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.recipes.adapter import AdapterRecipe
from modelyard.train.recipes.parse import parse_adapter_recipe

logger = logging.getLogger(__name__)
transformers: Any = library
_AT_ONCE = 8


class Speaker(Adapted):
    """Tokens in, scores out."""

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return scores


@dataclass(frozen=True)
class Judged:
    """How a model does on held-out text."""

    metrics: dict[str, float]
    intervals: dict[str, dict[str, float]]


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_adapter_recipe(context.spec["recipe"])
    stages, learning = Stages(context), recipe.learning
    work = stages.output / "work"
    work.mkdir(exist_ok=True)
    device = choose_device(learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    transformers.utils.logging.disable_progress_bar()
    base = _lay_base(stages, work / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)
    corpus = read_corpus(stages.path, stages.name)
    train_rows, validate_rows, test_rows = _rows(corpus, recipe, tokenizer)
    module = Speaker(_model(base, recipe))
    size = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    logger.info(
        "%s of %s weights learn, from %s tokens", f"{size:,}", f"{sum(w.numel() for w in module.parameters()):,}", f"{train_rows.learned:,}"
    )
    before = _judge(module, test_rows, recipe.seed)
    lesson = Lesson(module, LearnedTokens(), train_rows, validate_rows, recipe.seed)
    checkpoints = stages.checkpoints(learning, stages.fingerprint(learning, _facts(recipe, context.spec)))
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "laying the adapter beside its base")
    module = module.to("cpu").eval()
    module.model.save_pretrained(work / "adapter")
    proof = lay_adapter_beside(base, work / "adapter", stages.artifact)
    stages.report("evaluate", 0.0, "evaluating on held-out text")
    after = _judge(module, test_rows, recipe.seed)
    _attach(stages.attachments, recipe, fit)
    stages.done("the adapter is ready")
    rows = {"train": len(train_rows), "validation": len(validate_rows), "held_out": len(test_rows)}
    facts = {"weights": size, "rows": rows, "proof": proof, "training": training_report(fit, device, learning)}
    name = recipe.name or recipe.base.partition("@")[0]
    metrics = after.metrics | {f"base_{key}": value for key, value in before.metrics.items()}
    return stages.result(name, Served("openvino", ENTRY), metrics=metrics, report=_report(recipe, after, facts))


def _lay_base(stages: Stages, folder: Path) -> Path:
    """The base's files as they were; raises InvalidRequest when they hold no weights to learn with."""
    reference = stages.lay_base(folder)
    if not any(folder.glob("*.safetensors")):
        raise InvalidRequest(
            f"{reference} keeps only what is served, and no weights to learn with; name a version that a recipe of "
            "the kind 'language_model' made, or train the adapter outside with peft and push it with --base."
        )
    return folder


def _rows(corpus: Corpus, recipe: AdapterRecipe, tokenizer: Any) -> tuple[Rows, Rows, Rows]:
    parts = corpus.split(recipe.test_size, recipe.learning.validation_size, recipe.seed)
    found = [rows_of(part, tokenizer, recipe.window, answers=recipe.learn == "answers") for part in parts]
    for rows, what in zip(found, ("learn from", "validate with", "evaluate with"), strict=True):
        if not len(rows):
            raise InvalidData(
                f"There is nothing to {what}: no conversation has an answer within {recipe.window} tokens; bring more, or set "
                "learn: everything."
            )
    return found[0], found[1], found[2]


def _model(base: Path, recipe: AdapterRecipe) -> Any:
    """The base with a fresh adapter; raises InvalidRequest when it has no such layers."""
    torch.manual_seed(recipe.seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32, attn_implementation="sdpa")
    wanted = recipe.lora
    config = peft.LoraConfig(
        r=wanted.rank, lora_alpha=wanted.alpha, lora_dropout=wanted.dropout, target_modules=list(wanted.layers), task_type="CAUSAL_LM"
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError:
        ends = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise InvalidRequest(
            f"The base has none of the layers {', '.join(wanted.layers)}; lora.layers may name {', '.join(ends)}."
        ) from None


def _judge(module: Speaker, rows: Rows, seed: int) -> Judged:
    """Nats over the tokens that would be learned; pieces are rows, which weigh as many tokens as they have."""
    sums: list[NDArray[np.float64]] = []
    counts: list[NDArray[np.float64]] = []
    hits = 0.0
    module.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), _AT_ONCE):
            (tokens,), targets = rows.batch(np.arange(start, min(start + _AT_ONCE, len(rows)), dtype=np.intp), None)
            outputs = module(tokens)
            sums.append(learned_losses(outputs, targets).sum(dim=1).double().numpy())
            counts.append((targets >= 0).sum(dim=1).double().numpy())
            hits += float(((outputs.argmax(dim=2) == targets) & (targets >= 0)).sum())
    nats, tokens_each = np.concatenate(sums), np.concatenate(counts)
    metrics = language_metrics(float(nats.sum() / tokens_each.sum()))
    return Judged(metrics | {"accuracy": hits / rows.learned}, language_intervals(nats, tokens_each, seed=seed))


def _facts(recipe: AdapterRecipe, spec: Mapping[str, Any]) -> list[Any]:
    """What must be the same for a checkpoint to be of any use, beside what every network has."""
    return [spec["base"]["files"], recipe.lora.model_dump(mode="json"), [recipe.seed, recipe.test_size, recipe.window, recipe.learn]]


def _attach(folder: Path, recipe: AdapterRecipe, fit: Fit) -> None:
    with Illustrator(folder) as illustrator:
        illustrator.draw("learning", "learning_curves", history=fit.history, best=fit.best_epoch, score="accuracy")
        illustrator.finish()
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    (folder / "history.json").write_text(json.dumps(fit.history, indent=1))


def _report(recipe: AdapterRecipe, judged: Judged, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    return {
        "task": "language model",
        "family": "adapter",
        "family_title": "LoRA adapter",
        "settings": recipe.lora.model_dump(mode="json"),
        "weights": facts["weights"],
        "metric": "perplexity",
        "rows": facts["rows"],
        "training": facts["training"],
        "evaluation": {"intervals": judged.intervals},
        "proof": facts["proof"],
        "seed": recipe.seed,
        "plots": {"learning_curves": "learning_curves.svg"},
    }
