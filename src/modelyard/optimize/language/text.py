"""How surprised a decoder is by text, and how long a token takes it: what its children are judged by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modelyard.core.errors import InvalidData
from modelyard.datasets.corpus import read_corpus
from modelyard.optimize.measure import Race
from modelyard.runtimes.generative.decoder import Piece
from modelyard.runtimes.openvino import PagedDecoder
from modelyard.train.recipes.parse import parse_language_recipe

_WINDOW = 64
_AT_ONCE = 32
_MOST_WINDOWS = 64
_FEWEST_TOKENS = 64
_RESAMPLES = 200
_ROUNDS, _STEPS = 7, 12
_MADE_UP = 7
Window = list[int]


@dataclass(frozen=True)
class Text:
    """Pieces of text as tokens, all of the same length."""

    windows: list[Window]
    known: bool
    """Whether it is text that somebody brought or held out; else it is made up, and only shows how far answers are apart."""

    @property
    def tokens(self) -> int:
        """Of which each is foretold from those before it."""
        return sum(len(window) - 1 for window in self.windows)


def made_up(vocabulary: int, context_length: int) -> Text:
    """Tokens by chance, the same every time."""
    length = min(_WINDOW, context_length - 1)
    rows = np.random.default_rng(_MADE_UP).integers(0, vocabulary, (4, length))
    return Text([row.tolist() for row in rows], known=False)


def held_out_text(path: Path, name: str, recipe: str, tokenizer: Path, context_length: int) -> Text:
    """What the training of a version held out."""
    wanted = parse_language_recipe(recipe)
    *_, test = read_corpus(path, name).split(wanted.test_size, wanted.learning.validation_size, wanted.seed)
    return _cut([document.content for document in test], tokenizer, context_length, name)


def brought_text(path: Path, name: str, tokenizer: Path, context_length: int) -> Text:
    """What somebody brought."""
    return _cut([document.content for document in read_corpus(path, name).documents], tokenizer, context_length, name)


def _cut(texts: Sequence[str], tokenizer: Path, context_length: int, name: str) -> Text:
    """Spread evenly over all of it."""
    cutter = Tokenizer.from_file(str(tokenizer))
    ids = [token for text in texts for token in cutter.encode(text).ids]
    length = min(_WINDOW, context_length - 1, len(ids))
    if len(ids) < _FEWEST_TOKENS:
        raise InvalidData(f"{name} holds {len(ids)} tokens, and at least {_FEWEST_TOKENS} are needed to judge a language model by.")
    starts = np.linspace(0, len(ids) - length, min(_MOST_WINDOWS, len(ids) // length)).astype(int)
    return Text([ids[start : start + length] for start in starts], known=True)


def log_probabilities(decoder: PagedDecoder, text: Text) -> NDArray[np.float64]:
    """Of every token but each window's first, ``[windows, length - 1]``."""
    found: list[NDArray[np.float64]] = []
    left = list(text.windows)
    while left:
        admitted = _admitted(decoder, left[:_AT_ONCE])
        part, left = left[: len(admitted)], left[len(admitted) :]
        columns = []
        for at in range(len(part[0]) - 1):
            logits = decoder.forward([Piece(sequence, window[at : at + 1], at) for sequence, window in zip(admitted, part, strict=True)])
            columns.append(_chosen(logits, [window[at + 1] for window in part]))
        for sequence in admitted:
            decoder.release(sequence)
        found.append(np.stack(columns, axis=1))
    return np.concatenate(found)


def compare(parent: NDArray[np.float64], child: NDArray[np.float64]) -> dict[str, Any]:
    """Nats a token of both and the share that is lost, with intervals over resampled windows, the same for both."""
    random, count = np.random.default_rng(0), len(parent)
    drawn = [np.arange(count), *(random.integers(0, count, count) for _ in range(_RESAMPLES))]
    before, after = (np.array([-values[rows].mean() for rows in drawn]) for values in (parent, child))
    loss = (after - before) / before
    return {"metric": "nats_per_token", "rows": int(parent.size)} | {
        name: _interval(values) for name, values in (("parent", before), ("child", after), ("loss", loss))
    }


def race(parent: PagedDecoder, child: PagedDecoder, sequences: int, window: Window) -> Race:
    """Microseconds of a step in which each of so many sequences gets a token, in turns."""
    found = Race()
    for at in range(_ROUNDS):
        pair = [(parent, found.parent), (child, found.child)]
        for decoder, rounds in pair if at % 2 else pair[::-1]:
            rounds.append(_steps(decoder, sequences, window))
    return found


def _steps(decoder: PagedDecoder, sequences: int, window: Window) -> list[float]:
    admitted = _admitted(decoder, [window] * sequences)
    taken: list[float] = []
    for at in range(min(_STEPS, len(window))):
        began = time.perf_counter_ns()
        decoder.forward([Piece(sequence, window[at : at + 1], at) for sequence in admitted])
        taken.append((time.perf_counter_ns() - began) / 1000)
    for sequence in admitted:
        decoder.release(sequence)
    return taken[2:]  # the first steps of a shape are slower


def _admitted(decoder: PagedDecoder, windows: list[Window]) -> list[int]:
    """Numbers of the sequences that there is room for."""
    numbers: list[int] = []
    for number, window in enumerate(windows, start=1):
        if decoder.admit(number, window) is None:
            break
        numbers.append(number)
    if not numbers:
        raise InvalidData("There is no memory for a single sequence of the language model.")
    return numbers


def _chosen(logits: NDArray[np.float32], tokens: list[int]) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return np.asarray(values[np.arange(len(tokens)), tokens] - np.log(np.exp(values).sum(axis=1)))


def _interval(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
