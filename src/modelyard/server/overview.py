"""The platform as a whole: what ``status`` and ``/metrics`` answer, and whether the controller can work."""

from __future__ import annotations

import os
from typing import Any

from modelyard.core.clock import Clock
from modelyard.core.errors import ModelyardError
from modelyard.core.jobs import JobStatus
from modelyard.observability.exports import read_exports
from modelyard.observability.exposition import render
from modelyard.server.channel import Handover
from modelyard.server.resources import ResourceMonitor
from modelyard.serving.reports import read_reports
from modelyard.store.database import Store
from modelyard.store.home import Home

MANY = 1000


class Overview:
    """Reads; changes nothing. Safe to use from several threads."""

    def __init__(self, store: Store, home: Home, handover: Handover, resources: ResourceMonitor, clock: Clock) -> None:
        self._store, self._home, self._handover, self._clock = store, home, handover, clock
        self._resources = resources
        self._started_ns = clock.time_ns()

    def controller_ready(self) -> str:
        """Why the controller cannot work; empty when it can."""
        try:
            with self._store.read() as session:
                session.workspaces.get(1)
        except ModelyardError as error:
            return error.message
        return ""

    def status(self, workspace_id: int) -> dict[str, Any]:
        """What a workspace may know: processes, its deployments and jobs."""
        reports = read_reports(self._home.run)
        with self._store.read() as session:
            deployments = session.deployments.list(workspace_id)
            jobs = session.jobs.list(workspace_id, limit=MANY)
            models = session.models.list(workspace_id)
        counts = {status.value: sum(job.status is status for job in jobs) for status in JobStatus}
        return {
            "ready": self.controller_ready() == "",
            "management_url": self._handover.management_url,
            "controller": {"pid": os.getpid(), "started_ns": self._started_ns},
            "workers": [
                {
                    "slot": report.slot,
                    "pid": report.pid,
                    "snapshot": report.snapshot,
                    "loaded_versions": sum(told.in_memory for told in report.versions.values()),
                }
                for report in reports
            ],
            "models": len(models),
            "deployments": [deployment.name for deployment in deployments],
            "jobs": counts,
        }

    def metrics(self) -> bytes:
        """The Prometheus page over all workers, the queue of jobs, the machine and every process of the platform."""
        with self._store.read() as session:
            unended = session.jobs.unended()
        running = sum(job.status is JobStatus.RUNNING for job in unended)
        extra = {
            "modelyard_workers": ("Workers that live.", float(len(read_reports(self._home.run)))),
            "modelyard_jobs_running": ("Jobs that run now.", float(running)),
            "modelyard_jobs_queued": ("Jobs that wait for their turn.", float(len(unended) - running)),
            "modelyard_usage_quarantined": (
                "Damaged records and segments of the usage journal that were set aside: their calls are not in the ledger.",
                float(sum(1 for _ in (self._home.journal / "quarantine").glob("*"))),
            ),
            "modelyard_controller_uptime_seconds": (
                "Seconds since the controller started.",
                (self._clock.time_ns() - self._started_ns) / 1e9,
            ),
        }
        return render([*read_exports(self._home.run), self._resources.export()], extra)
