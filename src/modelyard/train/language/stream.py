"""Text as one stream of tokens in a file, and windows of it as rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from modelyard.core.errors import InvalidData
from modelyard.datasets.corpus import Document
from modelyard.train.language.tokenizer import END_ID, rendered

_AT_ONCE = 256


def write_stream(documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> NDArray[np.integer]:
    """The documents' tokens, each closed by the token that ends a text; a mapped file."""
    kind = np.dtype(np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32)
    with place.open("wb") as file:
        for start in range(0, len(documents), _AT_ONCE):
            texts = [rendered(document) for document in documents[start : start + _AT_ONCE]]
            for encoded in tokenizer.encode_batch(texts):
                file.write(np.array([*encoded.ids, END_ID], kind).tobytes())
    return np.memmap(place, dtype=kind, mode="r")


class Windows:
    """Windows of a stream, for the loop. While learning they are shifted anew in every batch."""

    def __init__(self, stream: NDArray[np.integer], size: int, what: str) -> None:
        """Raises InvalidData when the stream is shorter than a window."""
        self._stream, self._size = stream, size
        rows = (len(stream) - 1) // size
        if not rows:
            raise InvalidData(
                f"The text to {what} has {len(stream)} tokens, fewer than a window of {size}; bring more, or set a smaller window."
            )
        self._rows = rows
        self._last = len(stream) - 1 - size

    def __len__(self) -> int:
        return self._rows

    def batch(self, rows: NDArray[np.intp], random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        starts = rows * self._size
        if random is not None:
            starts = np.minimum(starts + int(torch.randint(0, self._size, (1,), generator=random)), self._last)
        found = torch.from_numpy(self._stream[starts[:, None] + np.arange(self._size + 1)].astype(np.int64))
        return (found[:, :-1],), found[:, 1:]


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of the token that follows, in nats: the mean over a row's tokens."""

    score_name: str = "accuracy"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return token_losses(outputs, targets).mean(dim=1)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.argmax(dim=2) == targets).float().mean(dim=1).sum())


def token_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """``[rows, length]``, in nats."""
    found = functional.cross_entropy(outputs.float().flatten(0, 1), targets.flatten(), reduction="none")
    return found.view_as(targets)
