"""The tokenizer of a language model: byte-level BPE, learned from text, as Hugging Face saves it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from modelyard.datasets.corpus import Document, Turns

END, BEGIN_TURN, END_TURN = "<|end|>", "<|turn|>", "<|over|>"
END_ID, END_TURN_ID = 0, 2
TEMPLATE = (
    "{% if tools %}<|turn|>tools\n{{ tools | tojson }}<|over|>\n{% endif %}"
    "{% for message in messages %}<|turn|>{{ message.role }}\n{{ message.content }}<|over|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def learn_tokenizer(texts: Iterable[str], vocabulary: int, min_frequency: int = 0) -> Tokenizer:
    """Learns what tokens there are; the first are the special ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=[END, BEGIN_TURN, END_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The tokenizer with its chat template and the tokens that end a text."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END_TURN, "pad_token": END}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [END_ID, END_TURN_ID], "pad_token_id": END_ID}))


def rendered(document: Document) -> str:
    """A document as the model reads it: conversations as the template writes them."""
    return document.text or turns_text(document.turns)


def turns_text(turns: Turns) -> str:
    """See ``TEMPLATE``."""
    return "".join(f"{BEGIN_TURN}{role}\n{content}{END_TURN}\n" for role, content in turns)
