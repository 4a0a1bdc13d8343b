"""A small real language model, trained on this machine within minutes: ``python -m modelyard.testing.small_language_model FOLDER``.

It learns from Python's own documentation, which every Python brings: a tokenizer, then a Llama of about three million parameters, half on
running text and half on questions about topics with the beginning of their pages as answers. So it says things that
one recognises, and now and then a thing that is true. It needs the extra ``transformers``.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch as torch_library
import transformers as library
from tokenizers import Tokenizer

from modelyard.testing.decoders import BEGIN_TURN, END, END_TURN, train_tokenizer

torch: Any = torch_library
transformers: Any = library
VOCABULARY = 2048
QUESTION = "What is {topic}?"
_ANSWER_CHARACTERS = 700


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large it is and how it learns."""

    hidden: int = 192
    feed_forward: int = 512
    layers: int = 4
    heads: int = 6
    context_length: int = 512
    window: int = 128
    """Tokens that are learned from at once."""
    batch: int = 12
    rate: float = 3e-3
    seconds: float = 240.0
    """How long it learns, where ``steps`` does not say it."""
    steps: int = 0
    seed: int = 0


def train(folder: Path, plan: Plan) -> tuple[float, float]:
    """Trains and writes the model as Hugging Face would save it; its loss at first and at last, in nats a token."""
    torch.manual_seed(plan.seed)
    texts = [_plain(text) for text in topics.values()]
    train_tokenizer(folder, texts, VOCABULARY)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = transformers.LlamaForCausalLM(_config(plan))
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.05)
    losses: list[float] = []
    began = time.monotonic()
    for tokens, wanted in _batches(tokenizer, plan):
        gone = len(losses) / plan.steps if plan.steps else (time.monotonic() - began) / plan.seconds
        if gone >= 1 and len(losses) >= 2:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * min(1.0, gone / 0.03 + 0.01) * (0.05 + 0.95 * (1 + math.cos(math.pi * min(gone, 1.0))) / 2)
        loss = model(input_ids=torch.tensor(tokens), labels=torch.tensor(wanted)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    model.save_pretrained(folder)
    _set_sampling(folder)
    some = max(1, len(losses) // 20)
    return sum(losses[:some]) / some, sum(losses[-some:]) / some


def _config(plan: Plan) -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=plan.hidden,
        intermediate_size=plan.feed_forward,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads // 2,
        max_position_embeddings=plan.context_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )


def _set_sampling(folder: Path) -> None:
    """What is usual for this model: cool, because it is small."""
    transformers.GenerationConfig(eos_token_id=[0, 2], pad_token_id=0, do_sample=True, temperature=0.4, top_p=0.9).save_pretrained(folder)


def _batches(tokenizer: Tokenizer, plan: Plan) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Endless: tokens, and what is to be learned of each (-100 for nothing)."""
    chance = random.Random(plan.seed)  # noqa: S311  # no secret
    running: list[int] = []
    end = tokenizer.token_to_id(END) or 0
    for text in topics.values():
        running += [*tokenizer.encode(_plain(text)).ids, end]
    turns = [tokenizer.encode(text).ids[: plan.window] for text in _conversations()]
    while True:
        rows: list[list[int]] = []
        for at in range(plan.batch):
            if at % 2:
                start = chance.randrange(len(running) - plan.window)
                rows.append(running[start : start + plan.window])
            else:
                rows.append(chance.choice(turns))
        yield _padded(rows, plan.window, 0), _padded(rows, plan.window, -100)


def _conversations() -> list[str]:
    found = []
    for topic, text in topics.items():
        answer = _plain(text)[:_ANSWER_CHARACTERS]
        question = QUESTION.format(topic=topic.lower().replace("-", " "))
        found.append(f"{BEGIN_TURN}user\n{question}{END_TURN}\n{BEGIN_TURN}assistant\n{answer}{END_TURN}\n")
    return found


def _plain(text: str) -> str:
    """A page without its heading and the lines under it."""
    lines = [line for line in text.splitlines() if not line or line.strip(line[0]) or line[0].isalnum()]
    return "\n".join(lines[1:]).strip()


def _padded(rows: Sequence[Sequence[int]], size: int, filler: int) -> list[list[int]]:
    return [[*row, *[filler] * (size - len(row))] for row in rows]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Trains a small language model on Python's own documentation.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    arguments = parser.parse_args()
    first, last = train(arguments.folder, Plan(seconds=arguments.minutes * 60))
    print(f"loss {first:.2f} -> {last:.2f} nats a token")  # noqa: T201  # it is a command


if __name__ == "__main__":
    main()
