"""Networks for texts that have seen no others: tokens, weights, graph and proof."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import tokenizers
import torch
from torch import nn

from modelyard.core.errors import JobFailed
from modelyard.train.job import Context
from modelyard.train.networks.architectures.bags import Bag
from modelyard.train.networks.architectures.texts import TextNet, title_of
from modelyard.train.networks.device import Device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.stages import Stages
from modelyard.train.networks.text_artifact import answers, prove_texts, settings_for, write_text_model
from modelyard.train.networks.text_data import TextExamples, TextProblem, learn_tokens, objective_for
from modelyard.train.networks.text_work import Trained, train_on_texts
from modelyard.train.recipes.parse import parse_text_recipe
from modelyard.train.recipes.text import TextRecipe

logger = logging.getLogger(__name__)


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_text_recipe(context.spec["recipe"])
    return train_on_texts(Stages(context), recipe, recipe.name, partial(_learn, recipe))


def lesson_for(problem: TextProblem, recipe: TextRecipe, tokenizer: tokenizers.Tokenizer) -> Lesson:
    """What is learned, with fresh weights drawn from the recipe's seed."""
    train, validate = (TextExamples(problem, rows, tokenizer) for rows in (problem.train, problem.validate))
    torch.manual_seed(recipe.seed)
    vocabulary, classes, wanted = tokenizer.get_vocab_size(), len(problem.classes), recipe.network
    network: nn.Module
    if wanted.kind == "bag":
        network = Bag(vocabulary, wanted.pairs, classes, wanted.dropout)
        network.weigh(train.tokens)
    else:
        network = TextNet(wanted, vocabulary, recipe.tokens.longest, classes)
    return Lesson(network, objective_for(problem), train, validate, recipe.seed)


def _learn(recipe: TextRecipe, problem: TextProblem, device: Device, stages: Stages) -> Trained:
    learning, title = recipe.learning, title_of(recipe.network)
    stages.report("read", 0.5, "learning the tokens")
    tokenizer = learn_tokens(problem.of(problem.train), recipe.tokens)
    lesson = lesson_for(problem, recipe, tokenizer)
    weights = sum(weight.numel() for weight in lesson.module.parameters())
    logger.info("%s with %d weights and %d tokens on %s", title, weights, tokenizer.get_vocab_size(), device.title)
    kept = recipe.model_dump(mode="json", include={"network", "tokens", "seed", "test_size", "text", "target", "on_empty"})
    fingerprint = stages.fingerprint(learning, [kept, list(problem.classes), len(problem.train)])
    checkpoints = stages.checkpoints(learning, fingerprint)
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    stages.report("export", 0.0, "writing graph and tokenizer")
    module = lesson.module.to("cpu").eval()
    predicted = answers(module, TextExamples(problem, problem.test, tokenizer))
    write_text_model(module, tokenizer, settings_for(problem, recipe.tokens.longest), stages.artifact)
    proof = prove_texts(stages.artifact, problem, predicted)
    if not proof.holds:
        raise JobFailed(f"The network's graph answers differently, so it was not kept: {proof.reason}.")
    about = {
        "family": recipe.network.kind,
        "settings": recipe.network.model_dump(mode="json"),
        "tokens": {"vocabulary": tokenizer.get_vocab_size(), "longest": recipe.tokens.longest},
        "weights": weights,
    }
    return Trained(title, about, tokenizer, recipe.tokens.longest, device, fit, proof, predicted)
