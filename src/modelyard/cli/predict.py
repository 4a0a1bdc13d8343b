"""Calling a deployment from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, print_table, progress
from modelyard.cli.pictures import are_pictures, predict_pictures, shortened_prediction
from modelyard.cli.rows import AT_ONCE, Records, Table, csv_parts, read_rows, without_others
from modelyard.core.errors import ModelyardError, NotFound, did_you_mean
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Predictions."""


@app.command(
    "predict",
    epilog=examples(
        "modelyard predict penguins --data rows.csv",
        "modelyard predict penguins --data rows.json --json",
        "modelyard predict photos --data photo.jpg",
        "cat rows.csv | modelyard predict penguins --data -",
    ),
)
def predict(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            help="A CSV file with a header, a JSON file with records, an image or a folder of them, or - for standard input.",
        ),
    ],
    version: Annotated[str, typer.Option(help="Ask this version (a number or an alias) instead of letting it be routed.")] = "",
    as_json: Json = False,
) -> None:
    """Call a deployment with the rows of a file, or with images, and print one prediction a row."""
    if are_pictures(data):
        _predict_pictures(deployment, data, version, as_json=as_json)
        return
    rows = read_rows(data)
    found: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    with connected() as client, progress("Predicting") as step:
        total = len(rows.rows)
        try:
            for answer in _answers(client, deployment, rows, version):
                found += answer["predictions"]
                if total > AT_ONCE:
                    step("Predicting", len(found) / total)
        except NotFound as error:
            raise NotFound(error.message + _nearest(client, deployment)) from error
    if as_json:
        print_json({"deployment": deployment, "model": answer.get("model"), "version": answer.get("version"), "predictions": found})
        return
    flat = [_flat(row) for row in found]
    headings = list(dict.fromkeys(name for row in flat for name in row))
    print_table(headings, [[row.get(name) for name in headings] for row in flat])


def _predict_pictures(deployment: str, data: str, version: str, *, as_json: bool) -> None:
    with connected() as client:
        found = list(predict_pictures(client, deployment, data, version))
    if as_json:
        print_json({"deployment": deployment, "predictions": found})
        return
    flat = [shortened_prediction(row) for row in found]
    headings = list(flat[0])
    print_table(headings, [[row.get(name) for name in headings] for row in flat])


def _answers(client: Client, deployment: str, rows: Records | Table, version: str) -> Iterator[dict[str, Any]]:
    if isinstance(rows, Records):
        for start in range(0, max(len(rows.rows), 1), AT_ONCE):
            yield client.inference.records(deployment, rows.rows[start : start + AT_ONCE], version=version)
        return
    columns = [tensor["name"] for tensor in client.inference.describe(deployment)["inputs"]]
    table, dropped = without_others(rows, columns)
    if dropped:
        note(f"Not sent, because the model does not take them: {', '.join(dropped)}.")
    for part in csv_parts(table):
        yield client.inference.csv(deployment, part, version=version)


def _nearest(client: Client, name: str) -> str:
    """A hint at the deployment that was meant, for a key that may see them; the inference side itself tells no names."""
    try:
        known = [view.name for view in client.deployments.list()]
    except ModelyardError:
        return ""
    return "" if name in known else did_you_mean(name, known)


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    """One level of a prediction as columns: the probability of each class has its own."""
    flat: dict[str, Any] = {}
    for name, value in prediction.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
