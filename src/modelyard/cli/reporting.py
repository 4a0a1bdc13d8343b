"""The page of a version as a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import examples, note
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)
_PICTURES = {".svg", ".png"}


@app.callback()
def _group() -> None:
    """Reports."""


@app.command(
    "report", epilog=examples("modelyard report penguins@1 --output penguins.html", "modelyard report penguins@1 --pictures penguins")
)
def report(
    reference: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS of a version that was trained or optimized here.")],
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="Where the page goes; by default NAME-NUMBER.html.")] = None,
    pictures: Annotated[Path | None, typer.Option(file_okay=False, help="Folder for its pictures as files of their own.")] = None,
) -> None:
    """Write a version's report as one HTML page that needs nothing else: metrics, pictures, parts of the rows, what it was made of."""
    with connected() as client:
        found = client.models.version(reference)
        place = output or Path(f"{found.model}-{found.number}.html")
        _write(place, partial(client.models.report, found.reference))
        drawn = [file.path for file in found.attachments if Path(file.path).suffix in _PICTURES] if pictures else []
        for path in drawn:
            _write((pictures or Path()) / path, partial(client.models.attachment, found.reference, path))
    note(f"Wrote {place}; open it in a browser.")
    if pictures:
        note(f"{len(drawn)} pictures are in {pictures}.")
    print(place)


def _write(place: Path, fetch: Callable[[BinaryIO], object]) -> None:
    """All of a file or nothing. Raises InvalidRequest."""
    part = place.with_name(f".{place.name}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            fetch(file)
        part.replace(place)
    except OSError as error:
        raise InvalidRequest(f"{str(place)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
