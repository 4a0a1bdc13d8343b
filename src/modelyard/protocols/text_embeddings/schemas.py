"""Requests as plain data. Fields that say nothing to this server are read over; those that would change an answer are refused."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.generation import MAX_TOKEN_ID


class Truncation(msgspec.Struct, kw_only=True):
    """What requests say of long texts and of prompts that stand before them."""

    truncate: bool | None = None
    truncation_direction: str | None = None
    prompt_name: str | None = None

    def check(self) -> None:
        """Raises Unsupported for what the model's own settings decide."""
        if self.truncate is False:
            raise Unsupported("Texts longer than the model reads are cut off at their end; truncate: false is not supported, leave it out.")
        if (self.truncation_direction or "right").lower() != "right":
            raise Unsupported(f"Texts are cut off at their end; truncation_direction {self.truncation_direction!r} is not supported.")
        if self.prompt_name is not None:
            raise Unsupported("prompt_name is not supported; put the prompt before the text yourself.")


class EmbedRequest(Truncation, kw_only=True):
    """``POST /embed``."""

    inputs: str | list[Any]
    normalize: bool | None = True
    dimensions: int | None = None
    encoding_format: str | None = None


class EmbedAllRequest(Truncation, kw_only=True):
    """``POST /embed_all``."""

    inputs: str | list[Any]


class TokenizeRequest(Truncation, kw_only=True):
    """``POST /tokenize``."""

    inputs: str | list[Any]
    add_special_tokens: bool = True


class DecodeRequest(msgspec.Struct, kw_only=True):
    """``POST /decode``: token ids of a text, or lists of them."""

    ids: list[Any]
    skip_special_tokens: bool = True

    def rows(self) -> list[list[int]]:
        """Each text's ids; raises InvalidRequest for what is none."""
        rows = [self.ids] if self.ids and all(isinstance(one, int) for one in self.ids) else self.ids
        if not rows or not all(
            isinstance(row, list) and all(isinstance(one, int) and 0 <= one <= MAX_TOKEN_ID for one in row) for row in rows
        ):
            raise InvalidRequest(f"ids holds no token ids; send a list of numbers from 0 to {MAX_TOKEN_ID}, or a list of such lists.")
        return rows


class Compared(msgspec.Struct, kw_only=True):
    """One sentence, and those it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityRequest(msgspec.Struct, kw_only=True):
    """``POST /similarity``."""

    inputs: Compared
    parameters: Truncation | None = None


class RerankRequest(Truncation, kw_only=True):
    """``POST /rerank``."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class PredictRequest(Truncation, kw_only=True):
    """``POST /predict``: a text, or a batch of lists with one text each."""

    inputs: str | list[Any]
    raw_scores: bool = False

    def texts(self) -> list[str]:
        """Each row's text; raises Unsupported for pairs of texts, InvalidRequest for what is none."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        if not self.inputs:
            raise InvalidRequest("There is no input; send at least one text.")
        # As the protocol has it, one text in a list is that text, and two are a pair.
        rows = [self.inputs] if all(isinstance(text, str) for text in self.inputs) else self.inputs
        for at, row in enumerate(rows):
            if not isinstance(row, list) or not row or not all(isinstance(text, str) for text in row):
                raise InvalidRequest(f'Row {at} of inputs is no list with a text; send [["one text"], ["another"]].')
            if len(row) > 1:
                raise Unsupported(f'Row {at} of inputs has {len(row)} texts; each is classified by itself: [["one text"], ["another"]].')
        return [row[0] for row in rows]

    @property
    def batch(self) -> bool:
        """Whether the answer is a list of lists."""
        return not isinstance(self.inputs, str) and not isinstance(self.inputs[0], str)


def without_raw_scores(asked: RerankRequest | PredictRequest) -> None:
    """Raises Unsupported where scores are asked for as the graph gives them."""
    if asked.raw_scores:
        raise Unsupported('raw_scores is not supported for this model: its scores are made by the "activation" it was pushed with.')
