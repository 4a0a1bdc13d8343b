"""API keys."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, print_table, when
from modelyard.core.access import Action
from modelyard.core.api import KeyView
from modelyard.core.durations import parse_duration, parse_expiry

Own = Annotated[bool, typer.Option("--mine", help="Your own keys; needs the right 'self' alone.")]

app = typer.Typer(rich_markup_mode=None)
keys = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Create, list, rotate and revoke API keys.")
app.add_typer(keys, name="keys", epilog=examples("modelyard keys create --deployment penguins --expires 30d", "modelyard keys list"))


@app.callback()
def _group() -> None:
    """Keys."""


@keys.command("create", epilog=examples("modelyard keys create --deployment penguins --expires 30d --label 'web shop'"))
def create(
    deployment: Annotated[list[str], typer.Option(help="A deployment it may call; may be repeated; all when left out.")] = [],  # noqa: B006 - Typer copies it
    action: Annotated[list[Action], typer.Option(help="What it may do; may be repeated.")] = [Action.INFER],  # noqa: B006 - Typer copies it
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[str, typer.Option(help="How long it is valid, like 30d or 12h, or until when, like 2027-01-31.")] = "never",
    network: Annotated[list[str], typer.Option(help="Where it may be used from, like 10.0.0.0/8; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    member: Annotated[str, typer.Option(help="The member whose key it is; you when left out.")] = "",
    mine: Own = False,
    as_json: Json = False,
) -> None:
    """Issue a key; its secret is shown this once."""
    seconds = parse_expiry(expires, time.time_ns())
    with connected() as client:
        issued = (client.me.keys if mine else client.keys).create(
            deployments=deployment, actions=action, label=label, expires_seconds=seconds, networks=network, principal=member
        )
    if as_json:
        print_json(issued)
        return
    note(
        f"Key {issued.id}" + (f", valid until {when(issued.expires_ns)}" if issued.expires_ns else "") + ". Its secret is shown this once:"
    )
    print(issued.key)


@keys.command("list", epilog=examples("modelyard keys list"))
def listed(mine: Own = False, as_json: Json = False) -> None:
    """List keys, without their secrets."""
    with connected() as client:
        found = (client.me.keys if mine else client.keys).list()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            key.id,
            key.label,
            key.principal,
            key.actions,
            key.deployments or "all",
            when(key.expires_ns) or "never",
            when(key.used_ns) or "never",
            _state(key),
        )
        for key in found
    ]
    print_table(["key", "label", "of", "may", "deployments", "expires", "last used", "state"], rows, empty="There are no keys.")


@keys.command("rotate", epilog=examples("modelyard keys rotate k7f3a9 --overlap 24h"))
def rotate(
    key: Annotated[str, typer.Argument(help="Id of the key, as 'keys list' shows it.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret works on, like 24h; it ends at once when left out.")] = "",
    mine: Own = False,
    as_json: Json = False,
) -> None:
    """Give a key another secret, shown this once; its id, limits and usage stay."""
    with connected() as client:
        issued = (client.me.keys if mine else client.keys).rotate(key, overlap_seconds=parse_duration(overlap))
    if as_json:
        print_json(issued)
        return
    until = f"the old secret works until {when(issued.previous_until_ns)}" if issued.previous_until_ns else "the old secret has ended"
    note(f"Key {issued.id} has another secret; {until}. The new one is shown this once:")
    print(issued.key)


@keys.command("revoke", epilog=examples("modelyard keys revoke k7f3a9"))
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, as 'keys list' shows it.")], mine: Own = False, as_json: Json = False
) -> None:
    """End a key; it is refused within a second."""
    with connected() as client:
        (client.me.keys if mine else client.keys).revoke(key)
    if as_json:
        print_json({"id": key, "revoked": True})
    else:
        print(f"Key {key} is revoked.")


def _state(key: KeyView) -> str:
    if key.revoked_ns:
        return "revoked"
    return "expired" if 0 < key.expires_ns <= time.time_ns() else "valid"
