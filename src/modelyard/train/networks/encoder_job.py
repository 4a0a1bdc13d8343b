"""An encoder that has read much text already learns classes (LoRA), and becomes one graph: base, head, learn, merge, export, prove."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import peft
import torch
import transformers as library
from tokenizers import Tokenizer
from torch import Tensor, nn

from modelyard.core.errors import InvalidRequest, JobFailed
from modelyard.core.models import WEIGHTS
from modelyard.runtimes.hf_onnx import SETTINGS, TOKENIZER, TextSettings
from modelyard.train.adapted import Adapted
from modelyard.train.job import Context
from modelyard.train.networks.device import Device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.stages import Stages
from modelyard.train.networks.text_artifact import answers, prove_texts, settings_for, write_text_model
from modelyard.train.networks.text_data import TextExamples, TextProblem, objective_for
from modelyard.train.networks.text_work import Trained, train_on_texts
from modelyard.train.recipes.encoder import EncoderRecipe
from modelyard.train.recipes.parse import parse_encoder_recipe

logger = logging.getLogger(__name__)
transformers: Any = library
_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError)


@dataclass(frozen=True)
class Base:
    """What is learned on from."""

    folder: Path
    files: Mapping[str, str]
    """Path → SHA-256."""


def _scores(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    scores: Tensor = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return scores


class Reader(Adapted):
    """Tokens and which of them count in, a score a class out."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return _scores(self.model, input_ids, attention_mask)


class Merged(nn.Module):
    """The same with its additions made part of it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return _scores(self.model, input_ids, attention_mask)


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_encoder_recipe(context.spec["recipe"])
    stages = Stages(context)
    base = stages.output / "base"
    reference = stages.lay_base(base)
    if not (base / WEIGHTS / "config.json").is_file():
        raise InvalidRequest(
            f"{reference} keeps only what is served, and no weights to learn with; push the encoder's folder again, with its weights as "
            "safetensors."
        )
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # that the head is new is meant so
    model = recipe.name or recipe.base.partition("@")[0]
    return train_on_texts(stages, recipe, model, partial(_learn, recipe, Base(base, context.spec["base"]["files"])))


def _learn(recipe: EncoderRecipe, base: Base, problem: TextProblem, device: Device, stages: Stages) -> Trained:
    learning = recipe.learning
    told = msgspec.json.decode((base.folder / SETTINGS).read_bytes(), type=TextSettings)
    settings = settings_for(problem, min(recipe.longest, told.max_tokens), told.pad_id)
    tokenizer = Tokenizer.from_file(str(base.folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens)
    module = Reader(adapted(base.folder / WEIGHTS, recipe, problem.classes))
    learned, whole = (sum(weight.numel() for weight in module.parameters() if weight.requires_grad or every) for every in (False, True))
    title = f"{module.model.config.model_type} encoder with LoRA"
    logger.info("%s: %s of %s weights learn on %s", title, f"{learned:,}", f"{whole:,}", device.title)
    train, validate, test = (
        TextExamples(problem, rows, tokenizer, told.pad_id) for rows in (problem.train, problem.validate, problem.test)
    )
    lesson = Lesson(module, objective_for(problem), train, validate, recipe.seed)
    kept = recipe.model_dump(mode="json", include={"lora", "longest", "seed", "test_size", "text", "target", "on_empty"})
    facts = [dict(base.files), kept, list(problem.classes), len(problem.train)]
    checkpoints = stages.checkpoints(learning, stages.fingerprint(learning, facts))
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "making one graph of base, additions and head")
    module = module.to("cpu").eval()
    predicted = answers(module, test)
    merged = module.model.merge_and_unload().eval()
    write_text_model(Merged(merged), tokenizer, settings, stages.artifact)
    proof = prove_texts(stages.artifact, problem, predicted)
    if not proof.holds:
        raise JobFailed(f"The encoder's graph answers differently, so it was not kept: {proof.reason}.")
    merged.save_pretrained(stages.attachments / WEIGHTS)
    about = {
        "family": "encoder",
        "settings": recipe.lora.model_dump(mode="json"),
        "tokens": {"vocabulary": tokenizer.get_vocab_size(), "longest": settings.max_tokens},
        "weights": whole,
        "learned_weights": learned,
        "base": recipe.base,
    }
    return Trained(title, about, tokenizer, settings.max_tokens, device, fit, proof, predicted)


def adapted(folder: Path, recipe: EncoderRecipe, classes: Sequence[str]) -> Any:
    """The base with fresh additions; its head, and whatever else of it is not among its weights, is learned in full.

    Raises InvalidRequest when transformers cannot read it as a classifier, and when it has no such layers.
    """
    torch.manual_seed(recipe.seed)
    labels = dict(enumerate(classes))
    try:
        model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            id2label=labels,
            label2id={name: at for at, name in labels.items()},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except _ERRORS as error:
        raise InvalidRequest(f"{recipe.base} cannot learn classes: {' '.join(str(error).split())[:300]}") from None
    body = model.base_model_prefix
    heads = [name for name, part in model.named_children() if name != body and any(True for _ in part.parameters())]
    lacking = sorted({key.rpartition(".")[0] for key in loaded["missing_keys"] if key.startswith(f"{body}.")})
    wanted = recipe.lora
    config = peft.LoraConfig(
        r=wanted.rank,
        lora_alpha=wanted.alpha,
        lora_dropout=wanted.dropout,
        target_modules=_layers(model, body, recipe, frozenset(lacking)),
        modules_to_save=[*heads, *lacking],
    )
    with warnings.catch_warnings():
        # Deprecations between peft and transformers are not the owner's concern.
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, config)


def _layers(model: Any, body: str, recipe: EncoderRecipe, lacking: frozenset[str]) -> list[str]:
    """Names of the encoder's linear layers that are changed."""
    inner = getattr(model, body)
    linear = [f"{body}.{name}" for name, part in inner.named_modules() if isinstance(part, nn.Linear)]
    known = [name for name in linear if name not in lacking]
    wanted = recipe.lora.layers
    chosen = [name for name in known if not wanted or any(f".{name}".endswith(f".{end}") for end in wanted)]
    if not chosen:
        ends = sorted({name.rpartition(".")[2] for name in known})
        raise InvalidRequest(f"{recipe.base} has none of the layers {', '.join(wanted)}; lora.layers may name {', '.join(ends)}.")
    return chosen
