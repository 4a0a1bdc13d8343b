"""GGUF files by llama.cpp, whose library computes steps for our own engine: many sequences in one unified memory.

The folder holds the GGUF file and, beside it, ``tokenizer.json`` and the other files that every decoder has (``importers`` writes them).
"""

from __future__ import annotations

import ctypes
import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.decoder import Decoder, Logits, Piece
from modelyard.runtimes.generative.engine import Engine, EngineOptions
from modelyard.runtimes.generative.llama_library import ContextSize, library, new_context
from modelyard.runtimes.generative.text import TextCodec

llama_cpp: Any = library()
_CACHE_SHARE = 0.2
"""Of the machine's memory, for what attention keeps."""
_MOST_CACHE = 1 << 30
_MOST_SEQUENCES = 64
_STEP_TOKENS = 512
_LEAST_SHARED = 16
"""Tokens of a common beginning that are worth taking over from another sequence."""


class LlamaDecoder(Decoder):
    """A loaded file. Sequences that ended stay in memory until their room is needed, for others that begin alike."""

    def __init__(self, path: Path, threads: int) -> None:
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise InvalidArtifact(
                f"llama.cpp cannot load {path.name!r}: it is damaged, or of an architecture that this release does not know."
            )
        self._vocabulary_of = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(self._vocabulary_of)
        self.context_length = llama_cpp.llama_model_n_ctx_train(self._model)
        self._capacity = _capacity(self._model, self.context_length)
        self._context = self._made(ContextSize(self._capacity, _MOST_SEQUENCES, _STEP_TOKENS, threads), path.name)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(_STEP_TOKENS, 0, 1)
        self._free = list(range(_MOST_SEQUENCES - 1, -1, -1))
        self._slots: dict[int, int] = {}
        """The library's number of each sequence."""
        self._held: dict[int, list[int]] = {}
        """Tokens computed in each slot."""
        self._room: dict[int, int] = {}
        """Tokens that each slot has room for."""
        self._idle: OrderedDict[int, None] = OrderedDict()

    def _made(self, size: ContextSize, name: str) -> Any:
        context = attempt(partial(new_context, self._model, size))
        if context and not isinstance(context, ModelyardError):
            return context
        llama_cpp.llama_model_free(self._model)
        raise context if context else InvalidArtifact(f"llama.cpp has no memory for {size.tokens} tokens of {name!r}.")

    def tokenize(self, text: str) -> list[int]:
        """As the library tokenizes by itself, for comparison."""
        raw = text.encode()
        found = (ctypes.c_int32 * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self._vocabulary_of, raw, len(raw), found, len(found), False, False)
        return list(found[: max(0, count)])

    def admit(self, sequence: int, tokens: Sequence[int]) -> int | None:
        slot, shared = self._likest(tokens)
        if slot is not None and slot in self._idle:
            del self._idle[slot]
            chosen = slot
        else:
            if not self._free and not self._evict():
                return None
            chosen = self._free.pop()
            self._held[chosen], self._room[chosen] = [], 0
            if slot is not None and slot != chosen and slot in self._held:
                llama_cpp.llama_memory_seq_cp(self._memory, slot, chosen, 0, shared)
                self._held[chosen] = list(self._held[slot][:shared])
            elif slot is not None:
                shared = 0  # it was the one that gave way
        if not llama_cpp.llama_memory_seq_rm(self._memory, chosen, shared, -1):  # a state that cannot be cut
            llama_cpp.llama_memory_seq_rm(self._memory, chosen, -1, -1)
            shared = 0
        del self._held[chosen][shared:]
        self._room[chosen] = shared
        self._slots[sequence] = chosen
        if self.grow(sequence, len(tokens)):
            return shared
        self.release(sequence)
        return None

    def grow(self, sequence: int, length: int) -> bool:
        slot = self._slots[sequence]
        wanted = length - self._room[slot]
        while wanted > self._capacity - sum(self._room.values()):
            if not self._evict():
                return False
        self._room[slot] = max(length, self._room[slot])
        return True

    def forward(self, pieces: Sequence[Piece]) -> Logits:
        batch, at = self._batch, 0
        last: list[int] = []
        for piece in pieces:
            slot = self._slots[piece.sequence]
            for offset, token in enumerate(piece.tokens):
                batch.token[at] = token
                batch.pos[at] = piece.past + offset
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = slot
                batch.logits[at] = 0
                at += 1
            batch.logits[at - 1] = 1
            last.append(at - 1)
        batch.n_tokens = at
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status}")
        for piece in pieces:
            self._held[self._slots[piece.sequence]] += piece.tokens
        rows = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, one), shape=(self.vocabulary,)) for one in last]
        return np.stack(rows)

    def release(self, sequence: int) -> None:
        slot = self._slots.pop(sequence, None)
        if slot is not None:
            self._room[slot] = len(self._held[slot])
            self._idle[slot] = None

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def _likest(self, tokens: Sequence[int]) -> tuple[int | None, int]:
        """The slot whose tokens begin most like these, and how many of them they share: never all."""
        best, most = None, _LEAST_SHARED - 1
        for slot, held in self._held.items():
            shared = _common(held, tokens, len(tokens) - 1)
            if shared > most:
                best, most = slot, shared
        return best, most if best is not None else 0

    def _evict(self) -> bool:
        """Gives up the slot that was unused the longest; False when all are in use."""
        if not self._idle:
            return False
        slot, _ = self._idle.popitem(last=False)
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        del self._held[slot], self._room[slot]
        self._free.append(slot)
        return True


class LlamaCppRuntime(Runtime):
    """See the module."""

    name = "llama_cpp"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        path = folder / entry
        if not path.is_file():
            raise InvalidArtifact(f"The file {entry!r} is missing from the artifact.")
        decoder = attempt(partial(LlamaDecoder, path, options.threads))
        if isinstance(decoder, ModelyardError):
            raise decoder if isinstance(decoder, InvalidArtifact) else InvalidArtifact(f"llama.cpp cannot load {entry!r}.")
        try:
            codec = TextCodec(folder, decoder.vocabulary)
        except ModelyardError:
            decoder.close()
            raise
        return Engine(decoder, codec, EngineOptions(max_sequences=_MOST_SEQUENCES, step_tokens=_STEP_TOKENS))


def _common(held: Sequence[int], tokens: Sequence[int], most: int) -> int:
    count = 0
    for one, other in zip(held, tokens[: max(0, most)], strict=False):
        if one != other:
            break
        count += 1
    return count


def _capacity(model: Any, context_length: int) -> int:
    """Tokens of all sequences together, within a share of the machine's memory; at least one context."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heads = max(1, llama_cpp.llama_model_n_head_kv(model)) / max(1, llama_cpp.llama_model_n_head(model))
    bytes_each: int = 2 * 2 * llama_cpp.llama_model_n_layer(model) * max(1, int(llama_cpp.llama_model_n_embd(model) * heads))
    room: int = int(min(_MOST_CACHE, machine * _CACHE_SHARE)) // bytes_each
    return max(context_length, min(room, context_length * _MOST_SEQUENCES))


RUNTIME = LlamaCppRuntime()
