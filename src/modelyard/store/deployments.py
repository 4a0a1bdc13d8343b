"""Deployments: the names that clients call."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.deployments import Deployment
from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.models import check_name
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import deployments, former_deployments

Deployments = list[Deployment]


class DeploymentsTable:
    """Rows of ``deployments``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, deployment: Deployment) -> Deployment:
        """Stores a new deployment at revision 1; the same with its id and times.

        Raises AlreadyExists when its workspace has one of this name, InvalidRequest when it is no name.
        """
        check_name(deployment.name, "deployment")
        if self.get(deployment.workspace_id, deployment.name) is not None:
            raise AlreadyExists(f"There is a deployment {deployment.name!r} already; change it, or choose another name.")
        now = self._clock.time_ns()
        made = msgspec.structs.replace(deployment, created_ns=now, updated_ns=now, revision=1)
        values = encode(made)
        identity = self._connection.execute(insert(deployments).values(**values).returning(deployments.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(made, id=identity)

    def get(self, workspace_id: int, name: str) -> Deployment | None:
        query = select(deployments).where(deployments.c.workspace_id == workspace_id, deployments.c.name == name)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Deployment)

    def list(self, workspace_id: int) -> Deployments:
        query = select(deployments).where(deployments.c.workspace_id == workspace_id).order_by(deployments.c.name)
        return [decode(row, Deployment) for row in self._connection.execute(query).mappings()]

    def all(self) -> Deployments:
        """Deployments of every workspace, by id."""
        query = select(deployments).order_by(deployments.c.id)
        return [decode(row, Deployment) for row in self._connection.execute(query).mappings()]

    def names(self, workspace_id: int) -> dict[int, str]:
        """What every deployment of a workspace is called by its id, and was called when it was removed."""
        queries = [
            select(table.c.id, table.c.name).where(table.c.workspace_id == workspace_id) for table in (former_deployments, deployments)
        ]
        return {row.id: row.name for query in queries for row in self._connection.execute(query)}

    def update(self, deployment: Deployment, expect_revision: int) -> Deployment:
        """Writes targets and policy of ``deployment`` as the next revision; what is stored now.

        Raises NotFound, or Conflict when somebody has changed it since ``expect_revision``.
        """
        current = self.get(deployment.workspace_id, deployment.name)
        if current is None:
            raise NotFound(f"There is no deployment {deployment.name!r}.")
        if current.revision != expect_revision:
            targets = ", ".join(f"{target.model}@{target.version} with weight {target.weight}" for target in current.targets)
            raise Conflict(
                f"Deployment {deployment.name!r} is at revision {current.revision}, not {expect_revision}: it has changed, and routes to "
                f"{targets or 'what its policy says'}; read it again."
            )
        made = msgspec.structs.replace(
            current, targets=deployment.targets, policy=deployment.policy, updated_ns=self._clock.time_ns(), revision=current.revision + 1
        )
        self._connection.execute(
            update(deployments)
            .where(deployments.c.id == current.id)
            .values(targets=made.targets, policy=made.policy, updated_ns=made.updated_ns, revision=made.revision)
        )
        SettingsTable(self._connection).bump(STATE)
        return made

    def remove(self, workspace_id: int, name: str) -> None:
        """Deletes a deployment.

        Raises NotFound when there is none.
        """
        found = self.get(workspace_id, name)
        if found is None:
            raise NotFound(f"There is no deployment {name!r}.")
        self._connection.execute(delete(deployments).where(deployments.c.id == found.id))
        kept = {"id": found.id, "workspace_id": workspace_id, "name": name, "removed_ns": self._clock.time_ns()}
        self._connection.execute(insert(former_deployments).values(**kept))
        SettingsTable(self._connection).bump(STATE)
