"""Chooses tokens from logits: penalties, grammar, temperature, cut-offs and log probabilities, for a whole step at once where it can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelyard.core.generation import Sampling
from modelyard.runtimes.generative.decoder import Logits
from modelyard.runtimes.generative.grammar import Matcher

_NEVER = np.float32(-np.inf)
_LIKELY = 256
"""Tokens that are sorted first; nearly always they hold enough of the probability."""


class Defaults(NamedTuple):
    """What the model's generation configuration says of sampling."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


class Chosen(NamedTuple):
    """A chosen token, with log probabilities where they are wanted."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


class Chooser:
    """How one choice of a generation picks its tokens, and what it has picked."""

    def __init__(self, sampling: Sampling, defaults: Defaults, prompt: Sequence[int], index: int, ends: frozenset[int]) -> None:
        self.temperature = defaults.temperature if sampling.temperature is None else sampling.temperature
        self.top_p = defaults.top_p if sampling.top_p is None else sampling.top_p
        self.top_k = defaults.top_k if sampling.top_k is None else sampling.top_k
        self.min_p = defaults.min_p if sampling.min_p is None else sampling.min_p
        self.repetition = defaults.repetition_penalty if sampling.repetition_penalty is None else sampling.repetition_penalty
        self.presence, self.frequency = sampling.presence_penalty, sampling.frequency_penalty
        self.min_tokens = sampling.min_tokens
        self._biased = np.array(list(sampling.logit_bias), dtype=np.int64)
        self._bias = np.array(list(sampling.logit_bias.values()), dtype=np.float32)
        self.logprobs: int | None = None
        self.matcher: Matcher | None = None
        self._ends = np.array(sorted(ends), dtype=np.int64)
        self._forbid_ends = sampling.ignore_end
        self._seen = set(prompt) if self.repetition != 1.0 else set()
        self._counts: dict[int, int] = {}
        self._produced = 0
        seed = None if sampling.seed is None else (sampling.seed + index) & ((1 << 64) - 1)
        self._random = np.random.default_rng(seed)

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is taken and nothing changes which that is."""
        return self.temperature == 0 and not self.shaped and self.logprobs is None

    @property
    def shaped(self) -> bool:
        """Whether logits are changed before a token is chosen from them."""
        penalties = self.presence or self.frequency or self.repetition != 1.0
        return bool(penalties or self._biased.size or self.matcher is not None or self._forbid_ends or self._produced < self.min_tokens)

    def shape(self, row: Logits) -> None:
        """Applies biases, penalties, grammar and forbidden ends to a row of logits, in place."""
        if self._biased.size:
            row[self._biased] += self._bias
        if self.repetition != 1.0 and self._seen:
            seen = np.fromiter(self._seen, dtype=np.int64, count=len(self._seen))
            values = row[seen]
            row[seen] = np.where(values > 0, values / self.repetition, values * self.repetition)
        if (self.presence or self.frequency) and self._counts:
            tokens = np.fromiter(self._counts, dtype=np.int64, count=len(self._counts))
            counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
            row[tokens] -= self.presence + self.frequency * counts
        if self.matcher is not None:
            row[~self.matcher.allowed(row.size)] = _NEVER
        elif self._forbid_ends or self._produced < self.min_tokens:
            row[self._ends] = _NEVER

    def choose(self, row: Logits) -> int:
        """A token of shaped logits."""
        if self.temperature == 0:
            return int(row.argmax())
        tokens, weights = self._candidates(row)
        sums = np.cumsum(weights, dtype=np.float64)
        at = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        at = min(at, len(sums) - 1)
        return at if tokens is None else int(tokens[at])

    def took(self, token: int) -> None:
        """Notes the token that was chosen."""
        self._produced += 1
        if self.repetition != 1.0:
            self._seen.add(token)
        if self.presence or self.frequency:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self.matcher is not None:
            self.matcher.took(token)

    def _candidates(self, row: Logits) -> tuple[NDArray[np.int64] | None, NDArray[np.float32]]:
        """Tokens that may be chosen (None for all) and their weights."""
        weights = np.exp((row - row.max()) / np.float32(self.temperature))
        if self.min_p > 0:
            weights[weights < self.min_p] = 0.0  # the likeliest has weight 1
        if not self.top_k and self.top_p >= 1:
            return None, weights
        total = float(weights.sum(dtype=np.float64))
        most = min(self.top_k or row.size, row.size)
        for size in (min(most, _LIKELY), most):
            tokens = _largest(weights, size)
            sums = np.cumsum(weights[tokens], dtype=np.float64)
            mass = float(sums[-1]) if self.top_k else total
            if size == most or sums[-1] >= self.top_p * total:
                break
        kept = int(np.searchsorted(sums, self.top_p * mass)) + 1
        return tokens[:kept], weights[tokens[:kept]]


def choose_all(choosers: Sequence[Chooser], logits: Logits) -> list[Chosen]:
    """One token for each row; rows are changed."""
    if all(chooser.plain for chooser in choosers):
        return [Chosen(int(token)) for token in logits.argmax(axis=1)]
    return [_choose_one(chooser, row) for chooser, row in zip(choosers, logits, strict=True)]


def _choose_one(chooser: Chooser, row: Logits) -> Chosen:
    raw = row.copy() if chooser.logprobs is not None and chooser.shaped else row
    chooser.shape(row)
    token = chooser.choose(row)
    if chooser.logprobs is None:
        return Chosen(token)
    normal = float(np.logaddexp.reduce(raw, dtype=np.float64))
    top = _largest(raw, chooser.logprobs)
    return Chosen(token, float(raw[token]) - normal, tuple([(int(one), float(raw[one]) - normal) for one in top]))


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` largest values, the largest first; of equal ones the first."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    if count < values.size:
        found = np.argpartition(values, values.size - count)[values.size - count :]
        found.sort()
    else:
        found = np.arange(values.size)
    order: NDArray[np.int64] = found[np.argsort(-values[found], kind="stable")]
    return order
