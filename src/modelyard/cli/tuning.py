"""The best way of running a version that keeps an objective, found on a real server."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.models import version_document
from modelyard.cli.optimizing import Calibrate, Metric, Target, labels_of
from modelyard.cli.output import Json, examples, note, print_json, print_table, progress, size
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)?")
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}
_SHOWN = 12


@app.callback()
def _group() -> None:
    """Tuning."""


@app.command(
    "tune",
    epilog=examples("modelyard tune penguins@1 --p99 5ms --max-loss 0.5%", "modelyard tune net@1 --p99 2ms --try graph+int8"),
)
def tune(
    reference: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS of an ONNX version.")],
    p99: Annotated[str, typer.Option(help="Time within which 99 of 100 calls are to be answered, like 5ms.")],
    max_loss: Annotated[str, typer.Option(help="Quality that may be lost, like 0.5% or 0.005.")] = "1%",
    tried: Annotated[list[str], typer.Option("--try", help="Passes in a row, like graph+int8; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    workers: Annotated[list[int], typer.Option(help="Workers of the server; may be repeated. By default one, and one for each core.")] = [],  # noqa: B006
    connections: Annotated[int, typer.Option(help="Calls at once.")] = 8,
    seconds: Annotated[float, typer.Option(help="Time for all measurements together.")] = 45.0,
    calibrate: Calibrate = "",
    target: Target = "",
    metric: Metric = "",
    as_json: Json = False,
) -> None:
    """Search passes, threads, processes, batches and workers for what answers the most calls in time; the choice is a child version."""
    objective = {"p99_ms": milliseconds(p99), "max_loss": share(max_loss), "connections": connections, "seconds": seconds}
    chains = [chain.split("+") for chain in tried]
    with connected() as client, progress("Tuning") as step:
        found = client.tune(
            reference,
            objective,
            chains=chains,
            workers=workers,
            calibration=calibrate,
            labels=labels_of(target, metric),
            on_progress=lambda now: step(now.message, now.fraction),
        )
    if as_json:
        print_json(version_document(found))
        return
    tuning = found.report["tuning"]
    names = ["", "p50 ms", "p99 ms", "calls/s", "quality lost", "size", "rounds"]
    print_table(names, [_row(row) for row in tuning["tried"][:_SHOWN]])
    for chain, why in tuning["refused"].items():
        print(f"\n{chain} was not tried: {why}")
    print(f"\n{found.reference}: {tuning['tried'][0]['title']}")
    if not tuning["met"]:
        note("Nothing that was tried keeps the objective; this comes nearest.")
    print(f"Serve it that way with: modelyard deploy {found.reference}   (and modelyard up --workers {tuning['workers']})")


def milliseconds(text: str) -> float:
    """Raises InvalidRequest."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"{text!r} is no time; write it like 5ms, 800us or 0.2s.")
    return float(found[1]) * _MILLISECONDS[found[2] or ""]


def share(text: str) -> float:
    """Raises InvalidRequest."""
    number = text.strip().removesuffix("%")
    try:
        return float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no share; write it like 0.5% or 0.005.") from None


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    mark = "* " if row["best"] else "  "
    return (
        mark + row["title"],
        f"{row['p50_ms']:.3g}",
        f"{row['p99_ms']:.3g}",
        f"{row['per_second']:,.0f}",
        f"{row['loss']:.4g}",
        size(row["size_bytes"]),
        row["rounds"],
    )
