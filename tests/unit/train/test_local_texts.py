"""The example that writes English text from this machine."""

import json
import subprocess
import sys
from pathlib import Path

from modelyard.datasets.corpus import read_corpus

SCRIPT = Path(__file__).parents[3] / "examples/local_texts.py"


def test_text_of_this_machine_becomes_documents_and_conversations(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, "--most", "200"], capture_output=True, text=True, check=True)
    assert "conversations in" in done.stdout
    texts = read_corpus(tmp_path / "texts.jsonl", "texts.jsonl")
    assert len(texts.documents) >= 150
    assert all(len(document.text) >= 60 for document in texts.documents)
    talk = read_corpus(tmp_path / "talk.jsonl", "talk.jsonl")
    assert all(len(document.turns) == 2 and document.turns[0][1].endswith("?") for document in talk.documents)
    assert json.loads((tmp_path / "talk.jsonl").read_text().splitlines()[0])["completion"]
