"""The page of a version as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import examples, note
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Reports."""


@app.command("report", epilog=examples("modelyard report penguins@1 --output penguins.html"))
def report(
    reference: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS of a version that was trained or optimized here.")],
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="Where the page goes; by default NAME-NUMBER.html.")] = None,
) -> None:
    """Write a version's report as one HTML page that needs nothing else: metrics, pictures, parts of the rows, what it was made of."""
    with connected() as client:
        found = client.models.version(reference)
        place = output or Path(f"{found.model}-{found.number}.html")
        part = place.with_name(f".{place.name}.part")
        try:
            with part.open("wb") as file:
                client.models.report(found.reference, file)
            part.replace(place)
        except OSError as error:
            raise InvalidRequest(f"{str(place)!r} cannot be written: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
    note(f"Wrote {place}; open it in a browser.")
    print(place)
