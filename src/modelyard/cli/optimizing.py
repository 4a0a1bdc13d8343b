"""Smaller and faster children of a version, each measured beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.models import version_document
from modelyard.cli.output import Json, examples, print_json, print_table, progress, size
from modelyard.cli.training import read_recipe
from modelyard.core.models import Version

app = typer.Typer(rich_markup_mode=None)
HEADINGS = (
    "version",
    "pass",
    "size",
    "nodes",
    "1 row p50",
    "p99",
    "batch p50",
    "p99",
    "rows/s",
    "quality",
    "95 %",
    "difference",
    "verdict",
)


Calibrate = Annotated[str, typer.Option(help="Table, .npz or data set to look at, for a version that was not trained here.")]
Target = Annotated[str, typer.Option(help="What of --calibrate is the right answer, to judge children by: a column, or an array.")]
Metric = Annotated[str, typer.Option(help="What decides then, like accuracy or mae (default F1 or RMSE).")]


@app.callback()
def _group() -> None:
    """Optimizing."""


@app.command(
    "optimize",
    epilog=examples(
        "modelyard optimize penguins@1 --pass int8", "modelyard optimize penguins@1 --pass prune:0.5 --pass int8 --max-loss 0.02"
    ),
)
def optimize(
    reference: Annotated[str, typer.Argument(help="NAME@NUMBER or NAME@ALIAS of an ONNX version.")],
    passes: Annotated[
        list[str],
        typer.Option(
            "--pass", help="graph, int8, prune:0.8, channels:0.5, finetune:5, distill:64-32, clip:99.9, int4 or fp16; see the how-to page."
        ),
    ],
    max_loss: Annotated[float | None, typer.Option(help="Quality that a child may lose before it is flagged (default 0.01).")] = None,
    max_slower: Annotated[float | None, typer.Option(help="Share by which it may be slower (default 0.1).")] = None,
    max_larger: Annotated[float | None, typer.Option(help="Share by which it may be larger (default 0.05).")] = None,
    student: Annotated[Path | None, typer.Option(exists=True, help="YAML recipe of the student of distill.")] = None,
    calibrate: Calibrate = "",
    target: Target = "",
    metric: Metric = "",
    as_json: Json = False,
) -> None:
    """Apply passes one after another; each makes a child version, measured on held-out rows beside the version you name."""
    given = {"quality": max_loss, "latency": max_slower, "size": max_larger}
    tolerance = {name: value for name, value in given.items() if value is not None}
    with connected() as client, progress("Optimizing") as step:
        children = client.optimize(
            reference,
            passes,
            tolerance=tolerance,
            student=read_recipe(student),
            calibration=calibrate,
            labels=labels_of(target, metric),
            on_progress=lambda now: step(now.message, now.fraction),
        )
    if as_json:
        print_json([version_document(child) for child in children])
        return
    print_children(children)


def labels_of(target: str, metric: str) -> dict[str, str]:
    """What was said of the right answers."""
    return {name: value for name, value in (("target", target), ("metric", metric)) if value}


def print_children(children: list[Version]) -> None:
    """One table: the version that all are compared with, then each child."""
    reports = [child.report["optimization"] for child in children]
    print_table(
        HEADINGS, [_parent(reports[0]), *(_child(child.reference, report) for child, report in zip(children, reports, strict=True))]
    )
    for child, report in zip(children, reports, strict=True):
        for node in report.get("notes", {}).get("int8", {}).get("left_out", ()):
            left = f"{node['node']} ({node['operator']})"
            print(f"\n{child.reference} leaves {left} as it is: the loss on training rows is then {node['loss_without_it']:.4g}")
        for reason in report["verdict"]["reasons"]:
            print(f"\n{child.reference} is flagged: {reason}")


def _parent(report: Mapping[str, Any]) -> tuple[object, ...]:
    return report["compared_with"], "", *_facts(report["parent"]), *_quality(report, "parent"), "", ""


def _child(reference: str, report: Mapping[str, Any]) -> tuple[object, ...]:
    apart = max((facts.get("largest", 1 - facts.get("agreement", 1.0)) for facts in report["difference"].values()), default=0.0)
    verdict = "kept" if report["verdict"]["kept"] else "flagged"
    return reference, report["pass"], *_facts(report["child"]), *_quality(report, "child"), apart, verdict


def _facts(facts: Mapping[str, Any]) -> tuple[object, ...]:
    single = facts["batch_1"]
    batch = facts.get("batch_32", {})
    times = [f"{run[name]:.0f} µs" if name in run else "" for run in (single, batch) for name in ("p50_us", "p99_us")]
    return size(facts["size_bytes"]), facts["nodes"], *times, f"{(batch or single)['rows_per_second']:,.0f}"


def _quality(report: Mapping[str, Any], whose: str) -> tuple[object, ...]:
    quality = report["quality"]
    if quality is None:
        return "not measured", ""
    found = quality[whose]
    return f"{quality['metric']} {found['value']:.4g}", f"{found['low']:.4g} to {found['high']:.4g}"
