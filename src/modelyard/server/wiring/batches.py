"""The job kind ``batch``: a turn of work on a batch of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.clock import SystemClock
from modelyard.core.errors import InvalidRequest, JobFailed
from modelyard.core.jobs import Job
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.worker import JobContext
from modelyard.server.wiring.secrets import home_secret
from modelyard.serving.batches.files import BatchFiles
from modelyard.serving.batches.work import Turn, WorkOptions
from modelyard.serving.delegation import Delegation
from modelyard.store.home import Home

_ROOT = 2
"""Folders between a job's own and the home."""


@dataclass(frozen=True)
class BatchJobs:
    """The controller's side."""

    files: BatchFiles
    retention_seconds: float
    call_seconds: float

    def kind(self) -> JobKind:
        return JobKind(run="modelyard.server.wiring.batches:run", check=self.check, inputs=_none, finish=_as_it_is)

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{batch: id}``, of a batch of the workspace.

        Raises InvalidRequest.
        """
        batch = self.files.batch(workspace_id, str(spec.get("batch", "")))
        if batch is None:
            raise InvalidRequest("There is no such batch; make one with POST /v1/batches.")
        times = {"retention_seconds": self.retention_seconds, "call_seconds": self.call_seconds}
        return {"batch": batch.id, "workspace": workspace_id, **times}


def run(context: JobContext) -> dict[str, Any]:
    """Works a turn on a batch: in the job's process, over the inference listener, in the name of the key that made the batch.

    Raises JobFailed when there is nothing to work on.
    """
    home = Home(context.folder.parents[_ROOT - 1])
    files = BatchFiles(home.batches)
    batch = files.batch(int(context.spec["workspace"]), str(context.spec["batch"]))
    if batch is None:
        raise JobFailed("The batch is not there any more.")
    options = WorkOptions(
        url=home.private_url_file.read_text(),
        headers=Delegation(home_secret(home.root, "delegation")).headers(batch.key_id),
        call_seconds=float(context.spec["call_seconds"]),
        retention_seconds=float(context.spec["retention_seconds"]),
    )
    with files.turn(batch) as mine:
        if not mine:
            return {"ended": False}
        ended = Turn(files, batch, options, SystemClock(), lambda share: context.report("Answering", min(share, 0.99))).run()
    return {"ended": ended}


def _none(_: Job) -> Mapping[str, str]:
    return {}


def _as_it_is(_: Job, __: Path, result: dict[str, Any]) -> dict[str, Any]:
    return result
