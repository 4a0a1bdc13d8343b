"""Long work."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, shortened, when
from modelyard.core.jobs import Job, JobStatus
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)
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


@app.command("logs", epilog=examples("modelyard logs 3", "modelyard logs 3 --follow"))
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a job wrote."""
    with connected() as client:
        if as_json:
            print_json({"job": client.jobs.get(job), "log": _whole(client, job)})
            return
        offset = _copy(client, job, 0)
        while follow and not client.jobs.get(job).status.ended:
            time.sleep(0.5)
            offset = _copy(client, job, offset)
        if follow:
            _copy(client, job, offset)


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


def _row(job: Job) -> tuple[object, ...]:
    progress = shortened(job.error) or f"{job.progress.fraction:.0%} {job.progress.message or job.progress.stage}".strip()
    return job.id, job.kind, job.status, "" if job.status is JobStatus.SUCCEEDED else progress, when(job.created_ns)


def _copy(client: Client, job: int, offset: int) -> int:
    """Prints the log from ``offset`` on; where it ends now."""
    while True:
        chunk = client.jobs.log(job, offset)
        if not chunk.text:
            return offset
        sys.stdout.write(chunk.text)
        sys.stdout.flush()
        offset = chunk.next_offset


def _whole(client: Client, job: int) -> str:
    parts, offset = [], 0
    while (chunk := client.jobs.log(job, offset)).text:
        parts.append(chunk.text)
        offset = chunk.next_offset
    return "".join(parts)
