"""Texts as a network sees them: read, split, tokenized, and a batch of like lengths at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from modelyard.core.errors import InvalidData, InvalidRequest, did_you_mean
from modelyard.datasets.read import read_table
from modelyard.datasets.split import hold_out
from modelyard.datasets.table import Rows, Table
from modelyard.train.networks.objectives import Classes, class_weights
from modelyard.train.problem import read_classes
from modelyard.train.recipes.labelled import LabelledTexts
from modelyard.train.recipes.text import Tokens

PAD, BEGIN = "[PAD]", "[BEGIN]"
PAD_ID = 0
_FEWEST_ROWS = 10
_BUCKET = 16
"""Batches whose texts are sorted by length together: like lengths within a batch, and other batches in every epoch."""


@dataclass(frozen=True)
class TextProblem:
    """Texts, and which of them training may see. Rows without a label or text are already gone."""

    recipe: LabelledTexts
    table: Table
    rows: Rows
    """The table's row numbers."""
    texts: tuple[str, ...]
    labels: NDArray[np.intp]
    classes: tuple[str, ...]
    train: Rows
    validate: Rows
    test: Rows
    unlabelled: int
    empty: int
    duplicates: int
    """Texts that are there more than once, counted without the first."""
    leaked: int
    """Held-out texts that were dropped because training sees the same."""

    def of(self, rows: Rows) -> list[str]:
        return [self.texts[row] for row in rows]


def pose_texts(path: Path, name: str, recipe: LabelledTexts) -> TextProblem:
    """Reads and splits; the same file and recipe give the same split.

    Raises InvalidData or InvalidRequest with one sentence for whatever makes it unsolvable.
    """
    table = read_table(path, recipe.read_options(), name)
    texts, target = table.column(recipe.text, "column of texts").texts(), table.column(recipe.target, "target")
    blank = np.array([not text.strip() for text in texts], np.bool_)
    if blank.any() and recipe.on_empty == "refuse":
        raise InvalidData(
            f"{int(blank.sum()):,} of the {len(texts):,} texts of {name} are empty (the first in data row {np.flatnonzero(blank)[0] + 1}); "
            "fill them in or remove the rows, or set on_empty to skip."
        )
    if target.missing.all():
        raise InvalidData(f"The target {target.name!r} has no value in any row; choose another or fill it in.")
    rows = np.flatnonzero(~blank & ~target.missing)
    if len(rows) < _FEWEST_ROWS:
        raise InvalidData(f"{name} has {len(rows)} texts with a label; training needs at least {_FEWEST_ROWS}.")
    labels, classes, _ = read_classes(target.take(rows))
    _check_weights(recipe, classes)
    kept = tuple(str(texts[row]) for row in rows)
    learned, test = hold_out(len(rows), recipe.test_size, recipe.seed, labels)
    copies = _copies(kept)
    clean = test[~np.isin(copies[test], copies[learned])]
    if len(np.unique(labels[clean])) < 2:
        raise InvalidData(
            f"The held-out texts of {name} that are not among those to learn from are of fewer than two classes; remove copies."
        )
    train, validate = hold_out(len(learned), recipe.learning.validation_size, recipe.seed + 1, labels[learned])
    return TextProblem(
        recipe=recipe,
        table=table,
        rows=rows,
        texts=kept,
        labels=labels,
        classes=classes,
        train=learned[train],
        validate=learned[validate],
        test=clean,
        unlabelled=int((target.missing & ~blank).sum()),
        empty=int(blank.sum()),
        duplicates=int((copies != np.arange(len(copies))).sum()),
        leaked=len(test) - len(clean),
    )


def learn_tokens(texts: list[str], wanted: Tokens) -> Tokenizer:
    """A tokenizer that knows these texts. Every text begins with a token of its own, so that none is without any."""
    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if wanted.lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=wanted.vocabulary,
        min_frequency=wanted.min_frequency,
        special_tokens=[PAD, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))])
    tokenizer.enable_truncation(wanted.longest)
    return tokenizer


class TextExamples:
    """Some of the texts, for the loop; a batch is as wide as its longest."""

    def __init__(self, problem: TextProblem, rows: Rows, tokenizer: tokenizers.Tokenizer, pad: int = PAD_ID) -> None:
        self._pad = pad
        encoded = tokenizer.encode_batch(problem.of(rows))
        self.tokens = [np.array(item.ids, np.int64) for item in encoded]
        self._labels = torch.from_numpy(problem.labels[rows].astype(np.int64))
        self.lengths = np.array([len(tokens) for tokens in self.tokens], np.intp)

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: Rows, random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random  # a text is never varied
        width = int(self.lengths[rows].max())
        ids, mask = (np.full((len(rows), width), filler, np.int64) for filler in (self._pad, 0))
        for at, row in enumerate(rows):
            ids[at, : self.lengths[row]] = self.tokens[row]
            mask[at, : self.lengths[row]] = 1
        return (torch.from_numpy(ids), torch.from_numpy(mask)), self._labels[torch.from_numpy(rows)]

    def order(self, rows: Rows, size: int, random: np.random.Generator) -> Rows:
        """Rows such that every ``size`` of them are of like length; a last part that is smaller stays the last."""
        whole = len(rows) // size * size
        parts: list[Rows] = []
        for start in range(0, whole, size * _BUCKET):
            bucket = rows[start : min(whole, start + size * _BUCKET)]
            ordered = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            parts += np.split(ordered, range(size, len(ordered), size))
        return np.concatenate([*(parts[at] for at in random.permutation(len(parts))), rows[whole:]])


def objective_for(problem: TextProblem) -> Classes:
    """Cross-entropy with the weights that the recipe says."""
    chosen, smoothing = problem.recipe.class_weights, problem.recipe.label_smoothing
    if chosen == "none":
        return Classes(None, smoothing)
    counts = np.bincount(problem.labels[problem.train], minlength=len(problem.classes)).tolist()
    weights = [chosen.get(name, 1.0) for name in problem.classes] if isinstance(chosen, dict) else None
    return Classes(class_weights(counts, weights), smoothing)


def _copies(texts: tuple[str, ...]) -> NDArray[np.intp]:
    """For each text the first one with the same words."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(" ".join(text.casefold().split()), at) for at, text in enumerate(texts)], np.intp)


def _check_weights(recipe: LabelledTexts, classes: tuple[str, ...]) -> None:
    for name in recipe.class_weights if isinstance(recipe.class_weights, dict) else ():
        if name not in classes:
            raise InvalidRequest(
                f"class_weights names the class {name!r}, which no text has.{did_you_mean(name, classes)} "
                f"Classes: {', '.join(classes[:20])}."
            )
