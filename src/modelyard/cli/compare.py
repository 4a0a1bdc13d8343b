"""Two versions side by side."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, print_table, when

app = typer.Typer(rich_markup_mode=None)
DIGEST = re.compile(r"[0-9a-f]{64}")


@app.callback()
def _group() -> None:
    """Compare."""


@app.command("compare", epilog=examples("modelyard compare penguins@1 penguins@2"))
def compare(
    first: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS.")],
    second: Annotated[str, typer.Argument(help="The other one, of the same model or another.")],
    as_json: Json = False,
) -> None:
    """Show two versions side by side: their metrics, and what else differs."""
    with connected() as client:
        found = client.models.compare(first, second)
    if as_json:
        print_json(found)
        return
    better = {"a": found["a"], "b": found["b"], "": ""}
    print_fields(
        [
            ("same content", "yes" if found["same_content"] else "no"),
            ("calls fit both", "yes" if found["compatible"] else "no"),
        ]
    )
    print("\nmetrics")
    rows = [(pair["name"], pair["a"], pair["b"], pair["change"], better[pair["better"]]) for pair in found["metrics"]]
    print_table(["metric", found["a"], found["b"], "change", "better"], rows, empty="Neither has metrics.")
    print("\ndifferences")
    others = [_difference(item["field"], item["a"], item["b"]) for item in found["differences"]]
    print_table(["field", found["a"], found["b"]], others, empty="Nothing else differs.")


def _difference(field: str, a: object, b: object) -> tuple[object, ...]:
    if field == "created_ns" and isinstance(a, int) and isinstance(b, int):
        return "created", when(a), when(b)
    return field, _short(a), _short(b)


def _short(value: object) -> object:
    """A digest as much of it as tells it from others; anything else as it is."""
    return f"{value[:12]}…" if isinstance(value, str) and DIGEST.fullmatch(value) else value
