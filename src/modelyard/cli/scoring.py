"""Predictions for whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.answers_picture import in_words
from modelyard.cli.answers_picture import picture as drawn
from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, progress
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)
FORMS = {".csv": "csv", ".parquet": "parquet", ".zip": ""}


@app.callback()
def _group() -> None:
    """Predictions for whole files."""


@app.command(
    "batch",
    epilog=examples(
        "modelyard batch penguins --data rows.parquet --out answers.parquet --picture answers.svg",
        "modelyard batch penguins@3 --data rows.csv --out answers.csv --keep id",
        "modelyard batch penguins --data rows.parquet --out answers.parquet --engine ray",
    ),
)
def batch(
    version: Annotated[str, typer.Argument(help="Name of a deployment, or NAME@NUMBER or NAME@ALIAS of a version.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A CSV or Parquet file, or a stored data set as NAME@NUMBER.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the predictions go: .csv, .parquet, or .zip for a file a shard.")],
    keep: Annotated[list[str], typer.Option(help="A column of the table to write beside its predictions; may be repeated.")] = [],  # noqa: B006
    engine: Annotated[
        str, typer.Option(help="Whose cores compute: local (this machine) or ray (the cluster that the settings name).")
    ] = "",
    picture: Annotated[Path | None, typer.Option(help="Where to draw how often each answer is, as SVG.")] = None,
    as_json: Json = False,
) -> None:
    """Answer every row of a file in a job: larger than memory, on all cores the job has, each row once and in order."""
    if out.suffix.lower() not in FORMS:
        raise InvalidRequest(
            f"The predictions cannot be written as {out.suffix or 'a file without an ending'!r}; use .csv, .parquet or .zip."
        )
    options = {"keep": keep, "form": FORMS[out.suffix.lower()], "partitioned": out.suffix.lower() == ".zip"}
    if engine:
        options["engine"] = engine
    part = out.with_name(f".{out.name}.part")
    with connected() as client, progress("Uploading the data") as step:
        step("Uploading the data", 0.0)
        try:
            with part.open("wb") as file:
                job = client.predict_file(version, data, file, options=options, on_progress=lambda now: step(now.message, now.fraction))
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    result = job.result
    if picture is not None:
        picture.write_text(drawn(f"{result['rows']:,} rows answered by {result['version']}", result.get("answers", {})), encoding="utf-8")
        note(f"The picture is in {picture}.")
    if as_json:
        print_json(result | {"job": job.id, "out": str(out)})
        return
    print(f"{result['rows']:,} rows answered by {result['version']}, {result['rows_per_second']:,.0f} a second; they are in {out}")
    for name, found in result.get("answers", {}).items():
        print(in_words(name, found))
