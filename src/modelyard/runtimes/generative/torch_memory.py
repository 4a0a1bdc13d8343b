"""What attention keeps of many sequences, in the form in which Transformers' models ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import cache_utils

Tensor = Any
_Cache: Any = cache_utils.Cache
_CacheLayer: Any = cache_utils.CacheLayerMixin
_FIRST = 64
"""Tokens that a sequence's tensors have room for at first; doubled as it grows."""


class _Batch:
    """The step that is being computed."""

    def __init__(self) -> None:
        self.rows: Sequence[tuple[int, int]] = ()
        """Sequence, and how many of its tokens are there already."""
        self.size = 0
        """New tokens of each."""

    @property
    def longest(self) -> int:
        return max((past for _, past in self.rows), default=0) + self.size


class _Layer(_CacheLayer):  # type: ignore[misc]  # of any type, so that this holds without the library
    """One layer's keys and values, by sequence."""

    def __init__(self, batch: _Batch) -> None:
        super().__init__()
        self._batch = batch
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:  # noqa: ARG002 - the library's form
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Takes the new tokens' keys and values, and gives those of all tokens, as long as the longest sequence."""
        batch = self._batch
        keys = key_states.new_zeros((len(batch.rows), key_states.shape[1], batch.longest, key_states.shape[3]))
        values = value_states.new_zeros((len(batch.rows), value_states.shape[1], batch.longest, value_states.shape[3]))
        for row, (sequence, past) in enumerate(batch.rows):
            end = past + batch.size
            known = self._with_room(sequence, end, key_states, value_states)
            for kept, new, given in zip(known, (key_states, value_states), (keys, values), strict=True):
                kept[:, past:end] = new[row]
                given[row, :, :end] = kept[:, :end]
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - the library's form
        return self._batch.longest, 0

    def get_seq_length(self) -> int:
        return self._batch.longest - self._batch.size

    def get_max_length(self) -> int:
        return -1

    def _with_room(self, sequence: int, length: int, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.kept.get(sequence)
        if kept is not None and kept[0].shape[1] >= length:
            return kept
        room = _FIRST
        while room < length:
            room *= 2
        made = tuple(states.new_empty((states.shape[1], room, states.shape[3])) for states in (key_states, value_states))
        if kept is not None:
            for new, old in zip(made, kept, strict=True):
                new[:, : old.shape[1]] = old
        self.kept[sequence] = made[0], made[1]
        return self.kept[sequence]


class SlotCache(_Cache):  # type: ignore[misc]  # of any type, so that this holds without the library
    """Memory by sequence. ``begin`` says which sequences the next step computes; the model then reads and writes them."""

    def __init__(self, layers: int) -> None:
        self._batch = _Batch()
        super().__init__(layers=[_Layer(self._batch) for _ in range(layers)])

    def begin(self, rows: Sequence[tuple[int, int]], size: int) -> None:
        """The next step adds ``size`` tokens to each of these sequences, given with how many they have."""
        self._batch.rows, self._batch.size = tuple(rows), size

    def forget(self, sequence: int) -> None:
        for layer in self.layers:
            layer.kept.pop(sequence, None)

    def clear(self) -> None:
        for layer in self.layers:
            layer.kept.clear()
