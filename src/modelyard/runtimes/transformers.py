"""Decoders of any architecture that Transformers itself knows, for those that OpenVINO does not: slower, and exact.

The folder is one that ``save_pretrained`` wrote, with safetensors weights and ``tokenizer.json``; code beside the weights is never run.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as torch_library
import transformers as library

from modelyard.core.errors import InvalidArtifact, ModelyardError, Unsupported
from modelyard.runtimes.base import LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.decoder import Decoder, Logits, Piece
from modelyard.runtimes.generative.engine import Engine, EngineOptions
from modelyard.runtimes.generative.text import TextCodec
from modelyard.runtimes.generative.torch_memory import SlotCache

torch: Any = torch_library
"""Of any type, so that types hold with the libraries and without them."""
transformers: Any = library
Tensor = Any
_CACHE_SHARE = 0.2
"""Of the machine's memory, for what attention keeps."""
_MOST_CACHE = 1 << 30
_MOST_SEQUENCES = 32
_FULL, _WINDOW = "full_attention", "sliding_attention"


class TorchDecoder(Decoder):
    """A loaded model. Sequences that go on by one token are computed together, prompts one after the other."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._window = _window_of(config)
        self._kinds = sorted(set(getattr(config, "layer_types", None) or ()))
        if set(self._kinds) - {_FULL, _WINDOW}:
            raise Unsupported(
                f"The decoder has layers of the kind {min(set(self._kinds) - {_FULL, _WINDOW})!r}, which are not batched here."
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True, "dtype": self._dtype}
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        self._model.to(self._device).eval()
        self.vocabulary = int(config.vocab_size)
        self.context_length = _context_length(config)
        self._memory = SlotCache(int(config.num_hidden_layers))
        self._capacity = _capacity(config, self.context_length, self._dtype.itemsize)
        self._room: dict[int, int] = {}
        parameters = inspect.signature(self._model.forward).parameters
        # Named so since Transformers 5.2x; the older name is read over from 5.40 on.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def admit(self, sequence: int, tokens: Sequence[int]) -> int | None:
        self._room[sequence] = 0
        if self.grow(sequence, len(tokens)):
            return 0
        del self._room[sequence]
        return None

    def grow(self, sequence: int, length: int) -> bool:
        if length - self._room[sequence] > self._capacity - sum(self._room.values()):
            return False
        self._room[sequence] = max(length, self._room[sequence])
        return True

    def forward(self, pieces: Sequence[Piece]) -> Logits:
        rows = np.empty((len(pieces), self.vocabulary), dtype=np.float32)
        single = [at for at, piece in enumerate(pieces) if len(piece.tokens) == 1]
        groups = [single] if single else []
        groups += [[at] for at, piece in enumerate(pieces) if len(piece.tokens) > 1]
        for group in groups:
            rows[group] = self._together([pieces[at] for at in group])
        return rows

    def release(self, sequence: int) -> None:
        self._room.pop(sequence, None)
        self._memory.forget(sequence)

    def close(self) -> None:
        self._memory.clear()
        del self._model

    def whole(self, tokens: Tensor) -> Tensor:
        """Logits at every position of whole texts, as the library computes them by itself."""
        return self._model(input_ids=tokens.to(self._device), use_cache=False).logits

    def _together(self, pieces: Sequence[Piece]) -> Logits:
        """Logits after the last token of pieces of one length."""
        with torch.inference_mode():
            return self._computed(pieces)

    def _computed(self, pieces: Sequence[Piece]) -> Logits:
        size = len(pieces[0].tokens)
        self._memory.begin([(piece.sequence, piece.past) for piece in pieces], size)
        tokens = torch.tensor([list(piece.tokens) for piece in pieces], device=self._device)
        pasts = torch.tensor([piece.past for piece in pieces], device=self._device)
        positions = pasts[:, None] + torch.arange(size, device=self._device)[None]
        found = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._masks(positions),
            use_cache=True,
            **{self._cache_name: self._memory},
            **self._last_only,
        )
        logits: Logits = found.logits[:, -1].float().cpu().numpy()
        return logits

    def _masks(self, positions: Tensor) -> Any:
        """Which earlier tokens each token sees; one mask for each kind of layer where there are several."""
        ends = torch.arange(int(positions.max()) + 1, device=self._device)
        full = ends[None, None, :] <= positions[:, :, None]
        near = full & (ends[None, None, :] > positions[:, :, None] - self._window) if self._window else full
        if len(self._kinds) > 1:
            return {_FULL: self._mask(full), _WINDOW: self._mask(near)}
        return self._mask(near if self._window and self._kinds != [_FULL] else full)

    def _mask(self, seen: Tensor) -> Tensor:
        nothing = torch.zeros((), dtype=self._dtype, device=self._device)
        return torch.where(seen, nothing, torch.finfo(self._dtype).min)[:, None]


class TransformersRuntime(Runtime):
    """See the module."""

    name = "transformers"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        if not (folder / entry).is_file():
            raise InvalidArtifact(f"The file {entry!r} is missing from the artifact.")
        decoder = attempt(partial(TorchDecoder, folder, options.threads))
        if isinstance(decoder, ModelyardError):
            if isinstance(decoder, InvalidArtifact | Unsupported):
                raise decoder
            lines = str(decoder.__cause__).strip().splitlines() or [type(decoder.__cause__).__name__]
            raise InvalidArtifact(f"Transformers cannot load the decoder: {lines[0][:300].rstrip('.')}.")
        try:
            codec = TextCodec(folder, decoder.vocabulary)
        except ModelyardError:
            decoder.close()
            raise
        return Engine(decoder, codec, EngineOptions(max_sequences=_MOST_SEQUENCES))


def _window_of(config: Any) -> int:
    window = getattr(config, "sliding_window", None)
    return int(window) if window and getattr(config, "use_sliding_window", True) else 0


def _context_length(config: Any) -> int:
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    raise InvalidArtifact("The model's config.json does not say how many positions it has (max_position_embeddings).")


def _capacity(config: Any, context_length: int, width: int) -> int:
    """Tokens of all sequences together, within a share of the machine's memory; at least one context."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heads = int(config.num_attention_heads)
    kept = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    each = 2 * width * int(config.num_hidden_layers) * kept * size
    return max(context_length, min(int(min(_MOST_CACHE, machine * _CACHE_SHARE)) // each, context_length * _MOST_SEQUENCES))


RUNTIME = TransformersRuntime()
