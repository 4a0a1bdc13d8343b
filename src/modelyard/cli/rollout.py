"""Rollouts: where versions stand against each other, and ending one by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_fields, print_json, print_table
from modelyard.core.rollout import Comparison, RolloutView, Step

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
rollout = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(rollout, name="rollout", help="Show and end the rollout of a version.", epilog=examples("modelyard rollout status penguins"))
Name = Annotated[str, typer.Argument(help="Name of the deployment.")]


@app.callback()
def _group() -> None:
    """Rollouts."""


@rollout.command("status", epilog=examples("modelyard rollout status penguins"))
def status(name: Name, as_json: Json = False) -> None:
    """Show how a deployment's versions compare, and what its rules would do now."""
    with connected() as client:
        view = client.deployments.rollout(name)
    if as_json:
        print_json(view)
    else:
        _show(view)


@rollout.command("promote", epilog=examples("modelyard rollout promote penguins"))
def promote(name: Name, as_json: Json = False) -> None:
    """Give the candidate all calls now, whatever the rules say."""
    with connected() as client:
        _decided(client.deployments.decide(name, "promote"), as_json=as_json)


@rollout.command("abort", epilog=examples("modelyard rollout abort penguins"))
def abort(name: Name, as_json: Json = False) -> None:
    """Take the candidate back now, whatever the rules say."""
    with connected() as client:
        _decided(client.deployments.decide(name, "roll-back"), as_json=as_json)


def _decided(view: RolloutView, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    serving = ", ".join(version.version for version in view.versions)
    print(f"{view.deployment} serves {serving}; its rollout has ended.")


def _show(view: RolloutView) -> None:
    print_fields(
        [("Deployment", f"{view.deployment}, revision {view.revision}"), ("Since", _time(view.since_ns)), ("Candidate", view.candidate)]
    )
    if view.decision.step is not Step.NONE:
        print_fields([("Next", f"{view.decision.step}: {view.decision.reason}")])
    headings = ("version", "share", "calls", "errors", "error rate", "p50 ms", "p99 ms", "outcomes", "mean outcome")
    rows = [
        (
            *(standing.version, f"{standing.share:.1%}", standing.calls, standing.errors, f"{standing.error_rate:.4f}"),
            *(f"{standing.p50_ms:.3g}", f"{standing.p99_ms:.3g}", standing.outcomes),
            "" if standing.mean_outcome is None else f"{standing.mean_outcome:.4g}",
        )
        for standing in view.versions
    ]
    print_table(headings, rows, empty="None of its versions is there.")
    if view.shadow is not None:
        shadow = view.shadow
        agreement = f"{shadow.agreement:.2%} of {shadow.rows} rows, numbers differ by up to {shadow.worst_difference:.3g}"
        print_fields(
            [
                ("Shadow", f"{shadow.version}, {shadow.calls} copies, {shadow.dropped} dropped, {shadow.errors} errors"),
                ("Agreement", agreement),
                ("Duration", f"p50 {shadow.p50_ms:.3g} ms, p99 {shadow.p99_ms:.3g} ms"),
            ]
        )
    if view.comparisons:
        compared = [_row(comparison) for comparison in view.comparisons]
        print_table(("metric", "others", "candidate", "difference", "the candidate is"), compared)
    for past in view.history:
        note(f"{_time(past.time_ns)} {past.action} by {past.actor}: {past.reason}")


def _row(comparison: Comparison) -> tuple[object, ...]:
    bounds = ""
    if comparison.low is not None and comparison.high is not None:
        bounds = f"{comparison.low:.4g} to {comparison.high:.4g}" + (" times" if comparison.metric == "latency" else "")
    verdict = f"{comparison.verdict} ({comparison.note})" if comparison.note else str(comparison.verdict)
    return (comparison.metric, f"{comparison.stable:.4g}", f"{comparison.candidate:.4g}", bounds, verdict)


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
