"""What workspaces may hold while their jobs run: set and read, each change with its audit row in the same transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.core.access import Grant
from modelyard.core.api import PoolView
from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.jobs import Job, JobStatus, WorkspacePool
from modelyard.core.resources import Resources
from modelyard.store.database import Session, Store


class PoolService:
    """Sets, lifts and shows pools. Safe to use from several threads. ``capacity`` is what all jobs together may hold.

    ``changed`` is called after each change that the scheduler should see soon.
    """

    def __init__(self, store: Store, capacity: Resources, changed: Callable[[], None]) -> None:
        self._store, self._capacity, self._changed = store, capacity, changed

    def set(self, actor: Actor, workspace: str, wanted: WorkspacePool) -> PoolView:
        """Bounds what a workspace's jobs may hold at the same time; jobs that run already go on. The id of ``wanted`` does not matter.

        Raises NotFound for an unknown workspace, InvalidRequest for amounts that cannot be.
        """
        if min(wanted.cores, wanted.memory_bytes, wanted.gpus, wanted.jobs) < 0:
            raise InvalidRequest("A pool's amounts cannot be negative; 0 lifts a bound.")
        if not 0 < wanted.share < 1e6:
            raise InvalidRequest(f"A share of {wanted.share:g} cannot be; it is a weight over 0, and 1 is what everybody has.")
        with self._store.write() as session:
            workspace_id = _workspace(session, workspace)
            before = session.pools.get(workspace_id)
            made = session.pools.set(msgspec.structs.replace(wanted, workspace_id=workspace_id))
            session.audit.append(actor, "pool.set", f"workspace:{workspace}", before=_told(before), after=_told(made))
        self._changed()
        return self._view(workspace, made, [])

    def all(self) -> list[PoolView]:
        """Every workspace, with what its jobs hold and how many wait."""
        with self._store.read() as session:
            unended = session.jobs.unended()
            return [
                self._view(workspace.name, session.pools.get(workspace.id), [job for job in unended if job.workspace_id == workspace.id])
                for workspace in session.workspaces.list()
            ]

    def mine(self, grant: Grant) -> PoolView:
        """The workspace of a key."""
        with self._store.read() as session:
            name = next((workspace.name for workspace in session.workspaces.list() if workspace.id == grant.workspace_id), "")
            unended = [job for job in session.jobs.unended() if job.workspace_id == grant.workspace_id]
            return self._view(name, session.pools.get(grant.workspace_id), unended)

    def _view(self, workspace: str, pool: WorkspacePool, unended: list[Job]) -> PoolView:
        running = sum(job.status is JobStatus.RUNNING for job in unended)
        return PoolView(
            workspace=workspace,
            cores=pool.cores,
            memory_bytes=pool.memory_bytes,
            gpus=pool.gpus,
            jobs=pool.jobs,
            share=pool.share,
            running=running,
            waiting=len(unended) - running,
            platform_cores=self._capacity.cores,
            platform_memory_bytes=self._capacity.memory_bytes,
            platform_gpus=self._capacity.gpus,
        )


def _workspace(session: Session, name: str) -> int:
    found = session.workspaces.by_name(name)
    if found is None:
        known = [workspace.name for workspace in session.workspaces.list()]
        raise NotFound(f"There is no workspace {name[:64]!r}.{did_you_mean(name[:64], known)}")
    return found.id


def _told(pool: WorkspacePool) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(pool)
    return {name: fields[name] for name in ("cores", "memory_bytes", "gpus", "jobs", "share")}
