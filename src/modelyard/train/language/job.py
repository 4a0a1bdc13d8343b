"""One language model from text to a version that is served: read, split, cut into tokens, learn, export, judge, let it speak."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modelyard.datasets.corpus import Corpus, Document, read_corpus
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import language_intervals
from modelyard.evaluation.metrics import language_metrics
from modelyard.runtimes.generative.conversion import ENTRY
from modelyard.train.job import Context
from modelyard.train.language.decoder import LanguageModel
from modelyard.train.language.export import save_folder, to_artifact
from modelyard.train.language.sampling import beginnings, real_words, sample
from modelyard.train.language.stream import NextToken, Windows, token_losses, write_stream
from modelyard.train.language.tokenizer import learn_tokenizer, rendered
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.lesson import Lesson, learn
from modelyard.train.networks.loop import Fit
from modelyard.train.networks.stages import Served, Stages, training_report
from modelyard.train.recipes.language import LanguageModelRecipe
from modelyard.train.recipes.parse import parse_language_recipe

logger = logging.getLogger(__name__)
_AT_ONCE = 16
_SHOWN = 5


@dataclass(frozen=True)
class Texts:
    """What is learned from, chosen by and held out, and how it is cut."""

    corpus: Corpus
    train: list[Document]
    validate: list[Document]
    test: list[Document]
    tokenizer: Tokenizer
    streams: tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]
    """Of each of the three."""


@dataclass(frozen=True)
class Judged:
    """How a model does on held-out text, and what it says."""

    metrics: dict[str, float]
    intervals: dict[str, dict[str, float]]
    samples: list[dict[str, str]]


def train(context: Context) -> dict[str, Any]:
    """Runs the whole training inside a job's process; see ``train.job.run``."""
    recipe = parse_language_recipe(context.spec["recipe"])
    stages, learning = Stages(context), recipe.learning
    work = stages.output / "work"
    work.mkdir(exist_ok=True)
    device = choose_device(learning.precision)
    stages.report("read", 0.0, f"reading {stages.name}")
    fingerprint = stages.fingerprint(learning, _facts(recipe))
    texts = _read(stages.path, stages.name, recipe, context.state / f"tokenizer-{fingerprint[:16]}.json", work)
    torch.manual_seed(recipe.seed)
    module = LanguageModel(recipe.network, texts.tokenizer.get_vocab_size())
    size = sum(weight.numel() for weight in module.parameters())
    logger.info("A decoder with %s weights on %s", f"{size:,}", device.title)
    train_rows, validate_rows = (
        Windows(stream, recipe.window, what) for stream, what in zip(texts.streams, ("learn from", "validate with"), strict=False)
    )
    lesson = Lesson(module, NextToken(), train_rows, validate_rows, recipe.seed)
    checkpoints = stages.checkpoints(learning, fingerprint)
    fit = learn(lesson, learning, device, checkpoints, site=stages.site, report=partial(stages.report, "learn"))
    module = module.to("cpu").eval()
    stages.report("export", 0.0, "making the graph that is served")
    save_folder(module, texts.tokenizer, recipe, work / "folder")
    proof = to_artifact(work / "folder", stages.artifact)
    stages.report("evaluate", 0.0, f"evaluating on {len(texts.streams[2]):,} held-out tokens")
    judged = _judge(module, texts, recipe)
    with Illustrator(stages.attachments) as illustrator:
        illustrator.draw("learning", "learning_curves", history=fit.history, best=fit.best_epoch, score="accuracy")
        illustrator.finish()
    for title, content in _documents(recipe, texts, judged, fit).items():
        (stages.attachments / title).write_bytes(content)
    stages.done("the language model is ready")
    facts = {"weights": size, "device": device, "fit": fit, "proof": proof}
    report = _report(recipe, texts, judged, facts) | {"source": _source(texts, stages.name)}
    return stages.result(recipe.name, Served("openvino", ENTRY), metrics=judged.metrics, report=report)


def _read(path: Path, name: str, recipe: LanguageModelRecipe, kept: Path, work: Path) -> Texts:
    """The same file and recipe give the same texts and tokens; a training that goes on takes the tokenizer of its first attempt."""
    corpus = read_corpus(path, name)
    for title, reason in corpus.unreadable.items():
        logger.warning("left out: %s: %s", title, reason)
    train, validate, test = corpus.split(recipe.test_size, recipe.learning.validation_size, recipe.seed)
    if kept.is_file():
        tokenizer = Tokenizer.from_file(str(kept))
    else:
        wanted = recipe.tokenizer
        tokenizer = learn_tokenizer((document.content for document in train), wanted.vocabulary, wanted.min_frequency)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        tokenizer.save(str(part))
        part.replace(kept)
    streams = (
        write_stream(train, tokenizer, work / "train"),
        write_stream(validate, tokenizer, work / "validate"),
        write_stream(test, tokenizer, work / "test"),
    )
    logger.info(
        "%s: %s documents; %s tokens of %s kinds to learn from",
        name,
        len(corpus.documents),
        f"{len(streams[0]):,}",
        tokenizer.get_vocab_size(),
    )
    return Texts(corpus, train, validate, test, tokenizer, streams)


def _facts(recipe: LanguageModelRecipe) -> list[Any]:
    """What must be the same for a checkpoint to be of any use, beside what every network has."""
    parts = [part.model_dump(mode="json") for part in (recipe.network, recipe.tokenizer)]
    return [*parts, [recipe.seed, recipe.test_size, recipe.window]]


def _judge(module: LanguageModel, texts: Texts, recipe: LanguageModelRecipe) -> Judged:
    """From the held-out text, which is used here for the first time; then the model speaks."""
    windows = Windows(texts.streams[2], recipe.window, "evaluate with")
    nats, hits = [], 0.0
    with torch.inference_mode():
        for start in range(0, len(windows), _AT_ONCE):
            (tokens,), targets = windows.batch(np.arange(start, min(start + _AT_ONCE, len(windows)), dtype=np.intp), None)
            outputs = module(tokens)
            nats.append(token_losses(outputs, targets).sum(dim=1).double().numpy())
            hits += float((outputs.argmax(dim=2) == targets).sum())
    sums = np.concatenate(nats)
    bytes_a_token = sum(len(rendered(document).encode()) for document in texts.test) / len(texts.streams[2])
    metrics = language_metrics(float(sums.sum()) / (len(sums) * recipe.window), bytes_a_token)
    samples = _samples(module, texts, recipe)
    share = real_words((entry["text"] for entry in samples), (document.content for document in texts.train))
    return Judged(
        metrics | {"accuracy": hits / (len(sums) * recipe.window)} | ({} if share is None else {"real_words": share}),
        language_intervals(sums, np.full(len(sums), float(recipe.window)), bytes_a_token, recipe.seed),
        samples,
    )


def _samples(module: LanguageModel, texts: Texts, recipe: LanguageModelRecipe) -> list[dict[str, str]]:
    wanted, tokenizer = recipe.samples, texts.tokenizer
    held_out = [rendered(document) for document in texts.test]
    prompts = [tokenizer.encode(text).ids for text in wanted.prompts] or beginnings(held_out, tokenizer, wanted.count)
    prompts = [prompts[at % len(prompts)] for at in range(wanted.count)]
    said = sample(module, prompts, wanted, recipe.network.context, recipe.seed)
    return [
        {"prompt": tokenizer.decode(prompt, skip_special_tokens=False), "text": tokenizer.decode(found)}
        for prompt, found in zip(prompts, said, strict=True)
    ]


def _report(recipe: LanguageModelRecipe, texts: Texts, judged: Judged, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained on what, as plain data."""
    return {
        "task": "language model",
        "family": "decoder",
        "family_title": "Decoder-only Transformer",
        "settings": recipe.network.model_dump(mode="json"),
        "weights": facts["weights"],
        "vocabulary": texts.tokenizer.get_vocab_size(),
        "metric": "perplexity",
        "rows": {"train": len(texts.train), "validation": len(texts.validate), "held_out": len(texts.test)},
        "tokens": dict(zip(("train", "validation", "held_out"), (len(stream) for stream in texts.streams), strict=True)),
        "training": training_report(facts["fit"], facts["device"], recipe.learning),
        "evaluation": {"intervals": judged.intervals, "window": recipe.window, "samples": judged.samples[:_SHOWN]},
        "proof": facts["proof"],
        "seed": recipe.seed,
        "plots": {"learning_curves": "learning_curves.svg"},
    }


def _source(texts: Texts, name: str) -> dict[str, Any]:
    """How the text was read."""
    corpus = texts.corpus
    return {
        "name": name,
        "documents": len(corpus.documents),
        "characters": sum(len(document.content) for document in corpus.documents),
        "conversations": sum(bool(document.turns) for document in corpus.documents),
        "duplicates": corpus.duplicates,
        "unreadable": dict(corpus.unreadable),
    }


def _documents(recipe: LanguageModelRecipe, texts: Texts, judged: Judged, fit: Fit) -> dict[str, bytes]:
    """The texts among the attachments."""
    held_out = [document.name for document in texts.test]
    return {
        "recipe.yaml": recipe.to_yaml().encode(),
        "history.json": json.dumps(fit.history, indent=1).encode(),
        "samples.json": json.dumps(judged.samples, ensure_ascii=False, indent=1).encode(),
        "held_out.json": json.dumps(held_out, ensure_ascii=False, indent=1).encode(),
    }
