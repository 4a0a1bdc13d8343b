"""What runs."""

from __future__ import annotations

from typing import Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, print_table, when
from modelyard.core.api import DeploymentView

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Status."""


@app.command("status", epilog=examples("modelyard status", "modelyard status --json"))
def status(as_json: Json = False) -> None:
    """Show processes, deployments and jobs."""
    with connected() as client:
        found = client.status()
        deployments = client.deployments.list()
    if as_json:
        print_json({**found, "deployments": deployments})
        return
    plain = [
        (_title(name), "yes" if value is True else "no" if value is False else value)
        for name, value in found.items()
        if isinstance(value, str | int | float | bool)
    ]
    print_fields(plain)
    for name, value in found.items():
        if name != "deployments":
            _section(name, value)
    print()
    print_table(["deployment", "serves", "state", "url"], [deployment_row(view) for view in deployments], empty="Nothing is deployed.")


def _section(name: str, value: Any) -> None:
    """A list of objects as a table, an object as fields."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        print(f"\n{name.replace('_', ' ')}")
        headings = list(dict.fromkeys(key for row in value for key in row))
        print_table([_title(heading) for heading in headings], [[_shown(key, row.get(key)) for key in headings] for row in value])
    elif isinstance(value, dict) and value:
        print(f"\n{name.replace('_', ' ')}")
        print_fields([(f"  {_title(key)}", _shown(key, item)) for key, item in value.items() if not isinstance(item, dict | list)])


def _title(name: str) -> str:
    return name.removesuffix("_ns").replace("_", " ")


def _shown(name: str, value: Any) -> Any:
    return when(value) if name.endswith("_ns") and isinstance(value, int) else value


def deployment_row(view: DeploymentView) -> tuple[object, ...]:
    """A deployment as a line: its name, where its calls go, how far it is, where it is called."""
    shares = [f"{target.model}@{target.version}" + (f" ×{target.weight}" if len(view.targets) > 1 else "") for target in view.targets]
    state = f"{view.state}: {view.reason}" if view.reason else str(view.state)
    return view.name, shares, state, view.url
