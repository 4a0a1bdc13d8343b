"""Grammars by llguidance: which tokens may come next."""

from __future__ import annotations

from collections.abc import Iterable

import llguidance
import llguidance.numpy
import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import Grammar, GrammarKind

_ANY_OBJECT = '{"type": "object"}'


class Vocabulary:
    """The tokens of a tokenizer as bytes. ``tokenizer`` is its JSON."""

    def __init__(self, tokenizer: str, ends: Iterable[int], size: int) -> None:
        self._tokenizer = llguidance.LLTokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends) or None)

    def raw(self, token: int) -> bytes:
        """The bytes that a token stands for; a special token's are its name."""
        raw: bytes = self._tokenizer.decode_bytes([token])
        return raw.removeprefix(b"\xff")

    def matcher(self, grammar: Grammar) -> Matcher:
        """A new matcher at the beginning of a grammar.

        Raises InvalidRequest for one that cannot be used.
        """
        try:
            source = _source(grammar)
        except ValueError as error:
            raise InvalidRequest(f"The {_SAID[grammar.kind]} cannot be used: {_first_line(error)}.") from None
        matcher = llguidance.LLMatcher(self._tokenizer, source, log_level=0)
        if matcher.is_error():
            raise InvalidRequest(f"The {_SAID[grammar.kind]} cannot be used: {_first_line(matcher.get_error())}.")
        return Matcher(matcher)


class Matcher:
    """Where one choice stands in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher
        self._bits: NDArray[np.int32] = np.empty((1, 0), dtype=np.int32)

    def allowed(self, size: int) -> NDArray[np.bool_]:
        """Which of ``size`` tokens may come next."""
        if not self._bits.size:
            self._bits = llguidance.numpy.allocate_token_bitmask(1, size)
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        return np.unpackbits(self._bits[0].view(np.uint8), count=size, bitorder="little").view(np.bool_)

    def took(self, token: int) -> None:
        """Moves on; a token that the grammar does not allow ends it."""
        self._matcher.consume_token(token)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())


def _source(grammar: Grammar) -> str:
    if grammar.kind is GrammarKind.REGEX:
        return llguidance.LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind is GrammarKind.LARK:
        return llguidance.LLMatcher.grammar_from_lark(grammar.text)
    schema = grammar.text if grammar.kind is GrammarKind.JSON_SCHEMA else _ANY_OBJECT
    # Free whitespace lets a small model fill its answer with nothing else.
    return llguidance.LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})


_SAID = {
    GrammarKind.JSON: "JSON grammar",
    GrammarKind.JSON_SCHEMA: "JSON schema",
    GrammarKind.REGEX: "regular expression",
    GrammarKind.LARK: "grammar",
}


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")
