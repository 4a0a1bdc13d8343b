"""Two versions side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, print_table

app = typer.Typer(rich_markup_mode=None)


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
    others = [(item["field"], item["a"], item["b"]) for item in found["differences"]]
    print_table(["field", found["a"], found["b"]], others, empty="Nothing else differs.")
