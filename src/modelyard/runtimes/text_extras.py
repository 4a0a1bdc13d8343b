"""What a text model tells of its tokens besides its answers: extras of its signature, by row of the input ``text``.

token_list      BYTES [rows], each a JSON list of ``{"id", "text", "special", "start", "stop"}``, of the whole text, special tokens included
bare_tokens     the same without special tokens
decoded         BYTES [rows], the text that a JSON list of token ids says, which ``text`` holds then, without special tokens
decoded_whole   the same with special tokens
token_vectors   FP32 [rows, tokens, size], of the tokens that the model reads; a shorter row ends with zeros
token_count     INT64 [rows], how many these are
"""

from __future__ import annotations

import msgspec
import numpy as np
import tokenizers

from modelyard.core.errors import InvalidTensor
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.core.unreadable import UNREADABLE

TEXT, VECTORS, COUNT = "text", "token_vectors", "token_count"
_TEXTS = ("token_list", "bare_tokens", "decoded", "decoded_whole")
_read_ids = msgspec.json.Decoder(list[int]).decode


def extras(size: int) -> tuple[TensorSpec, ...]:
    """The extras of a text model whose tokens have vectors of this size; 0 where they have none."""
    told = [TensorSpec(name=name, datatype=Datatype.BYTES, shape=(-1,)) for name in _TEXTS]
    counted = TensorSpec(name=COUNT, datatype=Datatype.INT64, shape=(-1,))
    return (*told, counted, *([TensorSpec(name=VECTORS, datatype=Datatype.FP32, shape=(-1, -1, size))] if size else []))


class Reading:
    """A tokenizer asked for what it does. ``tokenizer`` truncates as the model does; whole texts are read by a copy that does not."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._whole: tokenizers.Tokenizer | None = None

    def told(self, name: str, texts: list[str]) -> Array:
        """One extra; raises InvalidTensor for ids that are none."""
        if name == COUNT:
            return np.array([len(self._tokenizer.encode(text).ids) for text in texts], np.int64)
        made = np.empty(len(texts), object)
        decoding = name.startswith("decoded")
        made[:] = [self._decoded(text, name) if decoding else self._listed(text, name) for text in texts]
        return made

    def _listed(self, text: str, name: str) -> str:
        found = self._untruncated().encode(text, add_special_tokens=name == "token_list")
        told = [
            {"id": number, "text": token, "special": True, "start": None, "stop": None}
            if special
            else {"id": number, "text": text[start:stop], "special": False, "start": start, "stop": stop}
            for number, token, special, (start, stop) in zip(found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True)
        ]
        return msgspec.json.encode(told).decode()

    def _decoded(self, written: str, name: str) -> str:
        try:
            ids = _read_ids(written.encode())
        except UNREADABLE:
            raise InvalidTensor("Token ids are a list of numbers.") from None
        known = self._tokenizer.get_vocab_size(with_added_tokens=True)
        wrong = next((number for number in ids if not 0 <= number < known), None)
        if wrong is not None:
            raise InvalidTensor(f"The model has no token {wrong}; its ids are from 0 to {known - 1}.")
        return self._untruncated().decode(ids, skip_special_tokens=name == "decoded")

    def _untruncated(self) -> tokenizers.Tokenizer:
        if self._whole is None:
            whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
            whole.no_truncation()
            self._whole = whole
        return self._whole
