"""Two versions side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.family import Member, family_of, members, picture
from modelyard.cli.output import Json, examples, note, print_fields, print_json, print_table, size, when
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)
DIGEST = re.compile(r"[0-9a-f]{64}")


@app.callback()
def _group() -> None:
    """Compare."""


@app.command(
    "compare",
    epilog=examples("modelyard compare penguins@1 penguins@2", "modelyard compare network@1 --output net.svg"),
)
def compare(
    first: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS.")],
    second: Annotated[str, typer.Argument(help="The other one; without it, the first with all that was optimized from it.")] = "",
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="SVG file for a picture of a version and its children.")] = None,
    as_json: Json = False,
) -> None:
    """Show two versions side by side, or a version and all that was made of it in one table."""
    if second and output is not None:
        raise typer.BadParameter("A picture shows a version with its children; leave the second version out.", param_hint="--output")
    with connected() as client:
        if not second:
            _print_family(client, first, output, as_json=as_json)
            return
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


def _print_family(client: Client, reference: str, output: Path | None, *, as_json: bool) -> None:
    first = client.models.version(reference)
    rows = members(family_of(first, client.models.versions(first.model)))
    if output is not None:
        output.write_text(picture(f"{first.reference} and what was made of it", rows), encoding="utf-8")
        note(f"The picture is in {output}.")
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    table = [_family_row(row, rows[0]) for row in rows]
    print_table(["version", "pass", "size", "1 row p50", "quality", "times smaller, faster", "verdict"], table)


def _family_row(row: Member, first: Member) -> tuple[object, ...]:
    return row.title, row.made_by, size(row.size_bytes), f"{row.p50_us:.0f} µs", _quality(row), _change(row, first), row.verdict


def _quality(row: Member) -> str:
    return "not measured" if row.quality is None else f"{row.metric} {row.quality:.4g}"


def _change(row: Member, first: Member) -> str:
    if row is first or not row.p50_us:
        return ""
    return f"{first.size_bytes / row.size_bytes:.2f}, {first.p50_us / row.p50_us:.2f}"


def _difference(field: str, a: object, b: object) -> tuple[object, ...]:
    if field == "created_ns" and isinstance(a, int) and isinstance(b, int):
        return "created", when(a), when(b)
    return field, _short(a), _short(b)


def _short(value: object) -> object:
    """A digest as much of it as tells it from others; anything else as it is."""
    return f"{value[:12]}…" if isinstance(value, str) and DIGEST.fullmatch(value) else value
