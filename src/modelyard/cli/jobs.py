"""Long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from modelyard.cli.assignments import read_settings
from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, progress, shortened, when
from modelyard.core.api import LogChunk
from modelyard.core.jobs import Job, JobStatus
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)
Read = Callable[[int], LogChunk]
"""A log from an offset on."""
JobArgument = Annotated[int, typer.Argument(help="Number of the job.")]


@app.callback()
def _group() -> None:
    """Jobs."""


@app.command("jobs", epilog=examples("modelyard jobs", "modelyard jobs --status running"))
def jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with connected() as client:
        found = client.jobs.list(status=status or "", limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(["job", "kind", "status", "progress", "created"], [_row(job) for job in found], empty="There are no jobs.")


@app.command("logs", epilog=examples("modelyard logs 3", "modelyard logs 3 --follow", "modelyard logs shouter --version shouter@2"))
def logs(
    what: Annotated[str, typer.Argument(metavar="JOB|DEPLOYMENT", help="Number of a job, or name of a deployment.")],
    version: Annotated[str, typer.Option(help="Of a deployment: the version, NAME@NUMBER; all that it serves by default.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends, or for good.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a job wrote, or the replica processes of a deployment."""
    with connected() as client:
        sources = _sources(client, what, version)
        if as_json:
            written = {name: _whole(read) for name, read in sources.items()}
            print_json(
                {"job": client.jobs.get(int(what)), "log": written[what]} if what.isdigit() else {"deployment": what, "logs": written}
            )
            return
        offsets = dict.fromkeys(sources, 0)
        while True:
            ended = not follow or (what.isdigit() and client.jobs.get(int(what)).status.ended)
            for name, read in sources.items():
                offsets[name] = _copy(read, offsets[name], heading=name if len(sources) > 1 else "")
            if ended:
                return
            time.sleep(0.5)


@app.command("cancel", epilog=examples("modelyard cancel 3"))
def cancel(job: JobArgument, as_json: Json = False) -> None:
    """End a job with all its processes."""
    with connected() as client:
        found = client.jobs.cancel(job)
    if as_json:
        print_json(found)
    elif found.status is JobStatus.CANCELLED:
        print(f"Job {job} is cancelled.")
    else:
        print(f"Job {job} is being ended.")


@app.command("resume", epilog=examples("modelyard resume 3", "modelyard resume 3 --set learning.optimizer.learning_rate=0.0001"))
def resume(
    job: JobArgument,
    settings: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of the recipe to change, like learning.epochs=50.")] = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only queue the job.")] = True,
    as_json: Json = False,
) -> None:
    """Go on where a job that failed or was cancelled has ended, from its last checkpoint, as a new job."""
    with connected() as client:
        queued = client.jobs.resume(job, {"recipe": read_settings(settings)} if settings else {})
        if wait:
            with progress("Resuming") as step:
                queued = client.jobs.wait(queued.id, on_progress=lambda now: step(now.message or now.stage, now.fraction))
    if as_json:
        print_json(queued)
    else:
        print(f"Job {queued.id} goes on where job {job} has ended" + (f": {queued.status}." if wait else "."))


def _row(job: Job) -> tuple[object, ...]:
    progress = shortened(job.error) or f"{job.progress.fraction:.0%} {job.progress.message or job.progress.stage}".strip()
    return job.id, job.kind, job.status, "" if job.status is JobStatus.SUCCEEDED else progress, when(job.created_ns)


def _sources(client: Client, what: str, version: str) -> dict[str, Read]:
    """Where to read from, by name: a job, or versions of a deployment."""
    if what.isdigit():
        return {what: partial(client.jobs.log, int(what))}
    references = [version] if version else [f"{name}@{number}" for name, number in _served(client, what)]
    return {reference: partial(client.deployments.log, what, reference) for reference in references}


def _served(client: Client, name: str) -> list[tuple[str, int]]:
    found = client.deployments.get(name)
    if len(found.targets) != len(found.versions):  # a graph names versions of several models
        return []
    return [(target.model, number) for target, number in zip(found.targets, found.versions, strict=True)]


def _copy(read: Read, offset: int, *, heading: str) -> int:
    """Prints a log from ``offset`` on; where it ends now."""
    while True:
        chunk = read(offset)
        if not chunk.text:
            return offset
        if heading:
            print(f"== {heading}")
        sys.stdout.write(chunk.text)
        sys.stdout.flush()
        offset = chunk.next_offset


def _whole(read: Read) -> str:
    parts, offset = [], 0
    while (chunk := read(offset)).text:
        parts.append(chunk.text)
        offset = chunk.next_offset
    return "".join(parts)
