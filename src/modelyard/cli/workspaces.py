"""Workspaces."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, when

app = typer.Typer(rich_markup_mode=None)
workspaces = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Create, list, rename and remove workspaces.")
app.add_typer(workspaces, name="workspaces", epilog=examples("modelyard workspaces create birds", "modelyard workspaces list"))
Name = Annotated[str, typer.Argument(help="Name of the workspace.")]


@app.callback()
def _group() -> None:
    """Workspaces."""


@workspaces.command("create", epilog=examples("modelyard workspaces create birds"))
def create(name: Name, as_json: Json = False) -> None:
    """Make an empty workspace; MODELYARD_WORKSPACE=NAME lets an administrator act in it."""
    with connected() as client:
        made = client.workspaces.create(name)
    if as_json:
        print_json(made)
    else:
        print(f"Workspace {made.name} is there; make its owner with: MODELYARD_WORKSPACE={made.name} modelyard members set NAME owner")


@workspaces.command("list", epilog=examples("modelyard workspaces list"))
def listed(as_json: Json = False) -> None:
    """List the workspaces you are a member of; an administrator sees all."""
    with connected() as client:
        found = client.workspaces.list()
    if as_json:
        print_json(found)
        return
    rows = [(workspace.name, workspace.roles or "", when(workspace.created_ns)) for workspace in found]
    print_table(["workspace", "you are", "created"], rows, empty="You are in no workspace.")


@workspaces.command("rename", epilog=examples("modelyard workspaces rename birds ornithology"))
def rename(name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")], as_json: Json = False) -> None:
    """Rename a workspace; its keys stay valid."""
    with connected() as client:
        made = client.workspaces.rename(name, new_name)
    if as_json:
        print_json(made)
    else:
        print(f"Workspace {name} is {made.name} now.")


@workspaces.command("delete", epilog=examples("modelyard workspaces delete birds"))
def delete(name: Name, as_json: Json = False) -> None:
    """Remove an empty workspace with its keys and memberships; its usage and audit log stay."""
    with connected() as client:
        client.workspaces.remove(name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"Workspace {name} is removed.")
