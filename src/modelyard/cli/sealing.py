"""Sealing keys of upstream endpoints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Sealing."""


@app.command("seal", epilog=examples("modelyard seal https://api.example.com/v1 < key.txt"))
def seal(
    url: Annotated[str, typer.Argument(help="The endpoint that the key is for; it is sent to no other host.")],
    as_json: Json = False,
) -> None:
    """Seal a key, which is read from standard input, for the sealed_key of a remote.json."""
    secret = typer.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().strip()
    if not secret:
        raise InvalidRequest("Standard input holds no key; write it there, like: modelyard seal URL < key.txt")
    with connected() as client:
        found = client.platform.seal(url, secret)
    if as_json:
        print_json(found)
    else:
        print(found.sealed)
