"""Turns a page of the documentation into one script: bash and python fences run in order, titled fences become files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<kind>\w+)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)


def script_of(page: Path, replace: dict[str, str]) -> str:
    """A bash script that does what the page says; ``replace`` maps text, such as an address, to what it is in this run."""
    parts = ["set -euo pipefail"]
    for fence in FENCE.finditer(page.read_text()):
        kind, text = fence["kind"], fence["text"]
        title = re.search(r"title=(\S+)", fence["rest"])
        if title:
            parts.append(f"cat > {title[1]} <<'END_OF_FILE'\n{text}END_OF_FILE")
        elif kind == "bash":
            parts.append(text.rstrip())
        elif kind == "python":
            parts.append(f"python -W error - <<'END_OF_PYTHON'\n{text}END_OF_PYTHON")
    script = "\n".join(parts) + "\n"
    for old, new in replace.items():
        script = script.replace(old, new)
    return script


def pages() -> list[Path]:
    """Every page that has something to run."""
    found = [page for page in sorted((ROOT / "docs").rglob("*.md")) if re.search(r"^```(bash|python)", page.read_text(), re.M)]
    assert found
    return found


QUICKSTART = ROOT / "docs" / "quickstart.md"
TRAINING = {
    "adapt-a-language-model",
    "choose-columns",
    "classify-texts",
    "fine-tune-an-encoder",
    "forecast-a-series",
    "make-a-model-smaller",
    "make-a-small-language-model",
    "read-a-report",
    "search-recipes",
    "train-on-a-table",
    "train-on-images",
    "train-with-several-workers",
}
"""Pages whose models are made here: they take about as long as all the others."""


def howtos(*, training: bool) -> list[Path]:
    """The pages to run on one platform, one after another; files of tests run side by side."""
    return [page for page in pages() if page != QUICKSTART and (page.stem in TRAINING) is training]
