"""Members of a workspace, and oneself."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, when
from modelyard.core.access import Role

app = typer.Typer(rich_markup_mode=None)
members = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Say who is what in a workspace.")
app.add_typer(members, name="members", epilog=examples("modelyard members set ana developer", "modelyard members list"))
Name = Annotated[str, typer.Argument(help="Name of the person or service.")]


@app.callback()
def _group() -> None:
    """Members."""


@members.command("set", epilog=examples("modelyard members set ana developer --trust", "modelyard members set web-shop consumer --service"))
def put(
    name: Name,
    role: Annotated[list[Role], typer.Argument(help="What it is: one or more roles.")],
    service: Annotated[bool, typer.Option("--service", help="Make a service of this name if there is none.")] = False,
    trust: Annotated[bool | None, typer.Option(help="May also push and train what can run code of its own.")] = None,
    revision: Annotated[int | None, typer.Option(help="Refuse when the member is not at this revision any more.")] = None,
    as_json: Json = False,
) -> None:
    """Make somebody a member, or give a member other roles; keys of the member follow within a second."""
    with connected() as client:
        made = client.members.put(name, role, trust=trust, service=service, revision=revision)
    if as_json:
        print_json(made)
    else:
        print(f"{made.kind.value.capitalize()} {made.name} is {', '.join(made.roles)}{' with trust' if made.trust else ''} now.")


@members.command("list", epilog=examples("modelyard members list"))
def listed(as_json: Json = False) -> None:
    """List the members of the workspace."""
    with connected() as client:
        found = client.members.list()
    if as_json:
        print_json(found)
        return
    rows = [(member.name, member.kind.value, member.roles, "yes" if member.trust else "", when(member.updated_ns)) for member in found]
    print_table(["member", "kind", "roles", "trust", "changed"], rows, empty="There are no members.")


@members.command("remove", epilog=examples("modelyard members remove ana"))
def remove(name: Name, as_json: Json = False) -> None:
    """End a membership, and every key that the member has in the workspace."""
    with connected() as client:
        client.members.remove(name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"{name} is no member any more.")


@app.command("me", epilog=examples("modelyard me"))
def me(as_json: Json = False) -> None:
    """Show who you are, which deployments you may call, and what limits you."""
    with connected() as client:
        found = client.me.get()
    if as_json:
        print_json(found)
        return
    roles = ", ".join(found.roles) or ("administrator of the platform" if found.admin else "without a role")
    print(f"{found.kind.capitalize()} {found.name}, {roles}, in workspace {found.workspace}")
    print(f"May: {', '.join(found.actions)}")
    print(f"Deployments: {', '.join(found.deployments) or 'none'}")
    for limit in found.limits:
        print(f"Limit: {limit.text} for {' '.join(filter(None, (limit.scope.value, limit.subject)))}")
