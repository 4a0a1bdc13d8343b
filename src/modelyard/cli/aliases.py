"""Aliases: movable labels on versions."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.models import version_document
from modelyard.cli.output import Json, examples, print_json

app = typer.Typer(rich_markup_mode=None)
Alias = Annotated[str, typer.Option(help="The label to move.")]


@app.callback()
def _group() -> None:
    """Aliases."""


@app.command("promote", epilog=examples("modelyard promote penguins@2 --alias champion"))
def promote(
    reference: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS.")], alias: Alias = "champion", as_json: Json = False
) -> None:
    """Point an alias at a version; deployments that follow it switch within a second."""
    with connected() as client:
        version = client.models.promote(reference, alias)
    if as_json:
        print_json({"alias": alias, **version_document(version)})
    else:
        print(f"{version.model}@{alias} is now version {version.number}.")


@app.command("rollback", epilog=examples("modelyard rollback penguins --alias champion"))
def rollback(model: Annotated[str, typer.Argument(help="Name of the model.")], alias: Alias = "champion", as_json: Json = False) -> None:
    """Point an alias back at the version it meant before."""
    with connected() as client:
        version = client.models.rollback(model, alias)
    if as_json:
        print_json({"alias": alias, **version_document(version)})
    else:
        print(f"{version.model}@{alias} is version {version.number} again.")
