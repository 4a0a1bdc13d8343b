"""Rebuilds the pictures of the how-to pages: runs a page's own commands on a platform of its own, and takes what the product drew.

usage: python scripts/pictures.py [PAGE ...]      all pages, or some like train-on-images

Needs what the tests need. Times in pictures are those of the machine that it runs on.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from PIL import Image  # noqa: E402

from docs.places import served  # noqa: E402
from modelyard.sdk.client import Client  # noqa: E402
from servers import chromium  # noqa: E402

HOWTO = ROOT / "docs" / "howto"
INTO = HOWTO / "pictures"
COLOURS = 64
"""Enough for a chart, and a third of the bytes; the rare ones are kept, because they mark what counts."""


class Taken(NamedTuple):
    """One picture of a page."""

    name: str
    source: str
    """``MODEL@NUMBER FILE`` for what lies with a version, the name of a file that the page's commands write, or of a page to look at."""


PICTURES: dict[str, tuple[Taken, ...]] = {
    "train-on-a-table": (
        Taken("leaderboard", "mass@1 leaderboard.png"),
        Taken("learning", "mass@1 scores_by_rows.png"),
        Taken("residuals", "mass@1 residuals.png"),
    ),
    "train-on-images": (
        Taken("learning", "digits@1 learning_curves.png"),
        Taken("hardest", "digits@1 hardest_images.png"),
        Taken("family", "digits@2 family.png"),
    ),
    "forecast-a-series": (Taken("forecasts", "climate@1 forecasts.png"), Taken("errors", "climate@1 forecast_errors.png")),
    "classify-texts": (Taken("confusion", "novels@1 confusion_matrix.png"),),
    "choose-columns": (Taken("selection", "chosen@1 selection.png"),),
    "search-recipes": (Taken("coordinates", "searched@1 search_coordinates.png"), Taken("importance", "searched@1 search_importance.png")),
    "make-a-model-smaller": (Taken("family", "network@3 family.png"), Taken("tuning", "tuned.json tuning.png")),
    "read-a-report": (Taken("page", "smaller.html"), Taken("family", "family.svg")),
    "make-a-small-language-model": (Taken("learning", "writer@1 learning_curves.png"),),
    "adapt-a-language-model": (Taken("learning", "writer@2 learning_curves.png"),),
    "measure-a-deployment": (Taken("bench", "penguins.svg"),),
    "share-the-machine": (Taken("policies", "policies.png"),),
    "answer-a-file": (Taken("answers", "answers.svg"),),
    "fine-tune-an-encoder": (Taken("profile", "authored@1 data_profile.png"),),
    "train-with-several-workers": (Taken("learning", "some-digits@1 learning_curves.png"),),
}
SIMULATION = ("--nodes", "100", "--jobs", "3000")


def main(pages: list[str]) -> int:
    """The whole way; the exit status."""
    if unknown := [page for page in pages if page not in PICTURES]:
        print(f"no pictures are taken of {', '.join(unknown)}; there are: {', '.join(PICTURES)}")
        return 2
    for page in pages or PICTURES:
        with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
            for name, content in taken(page, Path(folder)).items():
                INTO.mkdir(exist_ok=True)
                (INTO / name).write_bytes(content)
                print(f"{page}: {name}, {len(content):,} bytes", flush=True)
    return 0


def taken(page: str, folder: Path) -> dict[str, bytes]:
    """The pictures of a page by the names of their files."""
    if page == "share-the-machine":
        simulate = ROOT / "benchmarks" / "schedule" / "simulate.py"
        subprocess.run([sys.executable, str(simulate), *SIMULATION, "--picture", str(folder / "policies.png")], check=True)
        return {f"{page}-policies.png": smaller((folder / "policies.png").read_bytes())}
    with served(folder, folder / "programs") as place:
        place.page(HOWTO / f"{page}.md")
        with Client(place.environment["MODELYARD_URL"], place.environment["MODELYARD_KEY"]) as client:
            found = {(one.name, Path(one.source).suffix): content_of(one.source, folder, client) for one in PICTURES[page]}
    return {f"{page}-{name}{'.svg' if suffix == '.svg' else '.png'}": content for (name, suffix), content in found.items()}


def content_of(source: str, folder: Path, client: Client) -> bytes:
    """One picture."""
    if " " not in source:
        return seen(folder / source) if source.endswith(".html") else (folder / source).read_bytes()
    reference, name = source.split()
    if reference.endswith(".json"):  # what a command printed about the version that it made
        told = json.loads((folder / reference).read_text())
        reference = f"{told['model']}@{told['version']}"
    out = io.BytesIO()
    client.models.attachment(reference, name, out)
    return smaller(out.getvalue())


def seen(page: Path) -> bytes:
    """The beginning of a page as a browser shows it."""
    with chromium.running() as browser:
        sheet = browser.new_page(viewport={"width": 1000, "height": 1150})
        sheet.goto(page.as_uri())
        return smaller(sheet.screenshot())


def smaller(content: bytes) -> bytes:
    """The same picture with fewer colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
