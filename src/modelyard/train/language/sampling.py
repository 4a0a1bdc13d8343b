"""What a decoder says: texts sampled by the trainer itself, to be read beside the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from modelyard.train.language.tokenizer import END_ID, END_TURN_ID
from modelyard.train.recipes.language import Samples

_WORD = re.compile(r"[^\W\d_]{2,}")


def sample(module: nn.Module, prompts: Sequence[Sequence[int]], wanted: Samples, window: int, seed: int) -> list[list[int]]:
    """What follows each prompt, up to a token that ends a text."""
    random = torch.Generator().manual_seed(seed)
    module.eval()
    return [_one(module, list(prompt), wanted, window, random) for prompt in prompts]


def _one(module: nn.Module, tokens: list[int], wanted: Samples, window: int, random: torch.Generator) -> list[int]:
    begun = len(tokens)
    with torch.inference_mode():
        for _ in range(wanted.tokens):
            scores = module(torch.tensor([tokens[-window:]]))[0, -1].float()
            chosen = _chosen(scores, wanted, random)
            if chosen in {END_ID, END_TURN_ID}:
                break
            tokens.append(chosen)
    return tokens[begun:]


def _chosen(scores: Tensor, wanted: Samples, random: torch.Generator) -> int:
    if wanted.temperature == 0:
        return int(scores.argmax())
    shares, order = torch.softmax(scores / wanted.temperature, dim=0).sort(descending=True)
    shares = torch.where(shares.cumsum(0) - shares < wanted.top_p, shares, 0.0)  # the likeliest stays always
    return int(order[torch.multinomial(shares, 1, generator=random)])


def words(text: str) -> list[str]:
    """Words of two letters or more, in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def real_words(said: Iterable[str], known: Iterable[str]) -> float | None:
    """Which share of the words said occur in the known texts; None where no word was said."""
    dictionary = {word for text in known for word in words(text)}
    found = [word for text in said for word in words(text)]
    return sum(word in dictionary for word in found) / len(found) if found else None


def beginnings(texts: Sequence[str], tokenizer: Tokenizer, count: int) -> list[list[int]]:
    """The first tokens of some texts, the same ones each time."""
    return [tokenizer.encode(text).ids[:8] or [END_ID] for text in texts[:count]]
