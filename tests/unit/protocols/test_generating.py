"""What a generation is charged for, chunk by chunk."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from modelyard.core.cost import Cost
from modelyard.core.generation import GenerationUsage, TokenChunk
from modelyard.protocols.generating import NOTHING, _pay


def charged(*chunks, before=NOTHING, tokens_out=0):
    call = SimpleNamespace(cost=Cost(tokens_out=tokens_out), permit=None)
    for chunk in chunks:
        asyncio.run(_pay(call, chunk, before))
    return call.cost


def test_tokens_are_charged_as_they_come_and_not_twice():
    chunks = [TokenChunk(token_ids=(number,), usage=GenerationUsage(tokens_in=3, tokens_out=number)) for number in (1, 2)]
    last = TokenChunk(token_ids=(3,), last=True, usage=GenerationUsage(tokens_in=3, tokens_out=3))
    cost = charged(*chunks, last)
    assert (cost.tokens_in, cost.tokens_out) == (3, 3)


def test_what_a_model_elsewhere_counts_in_the_end_is_charged():
    text = TokenChunk(text="one two three")
    last = TokenChunk(last=True, usage=GenerationUsage(tokens_in=5, tokens_out=8))
    assert charged(text, last).tokens_out == 8
    # Of several generations of one call, each adds its own.
    assert charged(text, last, before=GenerationUsage(tokens_in=5, tokens_out=8), tokens_out=8).tokens_out == 16
