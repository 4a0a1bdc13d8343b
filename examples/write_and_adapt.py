"""A small language model is learned from text, taught to answer (LoRA), served and asked: against a running platform.

    modelyard up &
    python examples/local_texts.py texts
    python examples/write_and_adapt.py texts/texts.jsonl texts/talk.jsonl "What is the module csv?"

Two recipes in files may follow: of the model, and of what it is taught. Those in ``examples/recipes`` take minutes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

from modelyard.core.errors import Unavailable
from modelyard.sdk.client import Client

RECIPES = Path(__file__).parent / "recipes"


def main(texts: str, talk: str, question: str, recipe: str = "", taught: str = "") -> int:
    """The whole way; the exit status."""
    learn, adapt = (
        yaml.safe_load(Path(given or RECIPES / name).read_text())
        for given, name in ((recipe, "small-language-model.yaml"), (taught, "adapter.yaml"))
    )
    with Client() as client:
        base = client.train(texts, name="writer", recipe=learn)
        print(f"{base.reference}: perplexity {base.metrics['perplexity']:.1f} on text that it has not seen")
        child = client.train(talk, name="writer", recipe=adapt | {"base": base.reference})
        before, after = child.metrics["base_perplexity"], child.metrics["perplexity"]
        print(f"{child.reference}: perplexity of answers {before:.1f} before, {after:.1f} after")
        client.deploy(child.reference, "writer", timeout=120)
        print(f"{question}\n{answer(client, question)}")
    return 0


def answer(client: Client, question: str, attempts: int = 120) -> str:
    """What the model says; it is waited for while its process loads it."""
    for attempt in range(attempts):
        try:
            return "".join(
                piece.text
                for piece in client.inference.chat("writer", [{"role": "user", "content": question}], max_tokens=40, temperature=0)
            )
        except Unavailable:
            if attempt == attempts - 1:
                raise
            time.sleep(0.5)
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
