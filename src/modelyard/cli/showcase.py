"""The demonstration as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.demo import run_demo
from modelyard.cli.output import examples

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Demonstration."""


@app.command("demo", epilog=examples("modelyard demo", "modelyard demo --exit"))
def demo(
    home: Annotated[Path | None, typer.Option(help="Folder for the platform; a temporary one by default.")] = None,
    port: Annotated[int, typer.Option(help="Port for calls of models; another one when it is taken.")] = 8000,
    management_port: Annotated[int, typer.Option(help="Port of the management API; another one when it is taken.")] = 8080,
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the calls instead of serving until Ctrl-C.")] = False,
) -> None:
    """Start a platform, train on a real table, deploy the model, and call it over two protocols."""
    run_demo(home, port, management_port, stay=not leave)
