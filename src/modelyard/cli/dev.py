"""A Python model served from the folder in which it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.output import examples, note
from modelyard.core.errors import InvalidArtifact
from modelyard.server.development import serve

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Development."""


@app.command("dev", epilog=examples("modelyard dev model.py", "modelyard dev model.py --port 9000"))
def dev(
    file: Annotated[Path, typer.Argument(help="The file with the class.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.")] = 9000,
) -> None:
    """Serve a Python model on this machine while you write it; it is loaded anew when a file beside it changes.

    It runs in this process with the packages of this Python, for whoever is on this machine, without keys. Ctrl-C ends it.
    """
    if not file.is_file():
        raise InvalidArtifact(f"There is no file {str(file)!r}; give the file with your class, like model.py.")
    serve(file.resolve(), port, note)
