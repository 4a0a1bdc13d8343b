"""Whether texts are tokenized as llama.cpp itself would tokenize them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from modelyard.core.errors import InvalidArtifact
from modelyard.runtimes.llama_cpp import LlamaDecoder

TEXTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces, a tab\tand a line break\nand another\r\n",
    "I'm sure they'll say it's 12345.678 or 1,000,000.",
    "def f(x):\n    return x ** 2  # squared\n",
    "Grüße aus Köln, über Größen und Maße.",
    "Привет, мир! 你好，世界。 こんにちは。",
    '{"name": "value", "list": [1, 2, 3]}',
    "emoji 🙂 and signs © ½ €",
    "a",
    " a",
    "UPPER lower MiXeD",
)
_WANTED = 0.9


def compare_tokenizers(folder: Path, entry: str) -> dict[str, Any]:
    """How many texts come out alike; raises InvalidArtifact when they are too few to be served."""
    decoder = LlamaDecoder(folder / entry, 1)
    try:
        own = Tokenizer.from_file(str(folder / "tokenizer.json"))
        alike = [own.encode(text, add_special_tokens=False).ids == decoder.tokenize(text) for text in TEXTS]
    finally:
        decoder.close()
    share = sum(alike) / len(alike)
    if share < _WANTED:
        different = TEXTS[alike.index(False)]
        raise InvalidArtifact(
            f"The tokenizer in the GGUF file is not understood well enough: {different!r} is cut otherwise than llama.cpp cuts it. "
            "Push a folder with the model's own tokenizer.json beside the file."
        )
    return {"positions": len(alike), "agreement": share}
