"""Deployments that other workspaces may call."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, when
from modelyard.core.shares import Direction

app = typer.Typer(rich_markup_mode=None)
Deployment = Annotated[str, typer.Argument(help="Name of the deployment.")]
Other = Annotated[str, typer.Option("--with", help="Name of the other workspace.")]


@app.callback()
def _group() -> None:
    """Shares."""


@app.command("share", epilog=examples("modelyard share penguins --with birds"))
def share(deployment: Deployment, workspace: Other, as_json: Json = False) -> None:
    """Let another workspace's keys call a deployment: counted and billed there, by this workspace's prices, under both their limits."""
    with connected() as client:
        made = client.shares.share(deployment, workspace)
    if as_json:
        print_json(made)
    else:
        print(f"Keys of workspace {made.workspace} may call it by the name {made.name}.")


@app.command("unshare", epilog=examples("modelyard unshare penguins --with birds"))
def unshare(deployment: Deployment, workspace: Other) -> None:
    """End a share; the other workspace's calls are refused within a second."""
    with connected() as client:
        client.shares.unshare(deployment, workspace)
    print(f"Keys of workspace {workspace} may not call {deployment} any more.")


@app.command("shares", epilog=examples("modelyard shares"))
def list_shares(as_json: Json = False) -> None:
    """List what this workspace shares with others, and what others share with it."""
    with connected() as client:
        found = client.shares.list()
    if as_json:
        print_json(found)
        return
    rows = [
        (view.deployment, "to" if view.direction is Direction.GIVEN else "from", view.workspace, view.name, when(view.created_ns))
        for view in found
    ]
    print_table(["deployment", "", "workspace", "called by", "since"], rows, empty="Nothing is shared.")
