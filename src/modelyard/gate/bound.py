"""The gate of a container contract: every caller is the one principal that was fixed when the platform was started.

SageMaker and Vertex authenticate callers themselves and forward calls without a key. Only the routes of the contract stand behind
these gates. The grant of an endpoint with one model may call one deployment and do nothing else; that of one with many models may call
those that were loaded through it, and load and unload.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.core.access import Action, Grant
from modelyard.core.errors import Unavailable
from modelyard.core.hosting import NAME_TAG, URL_TAG, Hosted
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.store.snapshot import Snapshot

_WORKSPACE = "default"


class BoundGate:
    """Admits as ``gate`` does, whoever asks.

    The deployment is that of the name, or, without a name, the only one of the default workspace. Calls are recorded under key 0.
    """

    def __init__(self, gate: Gate, snapshots: SnapshotHolder, deployment: str = "") -> None:
        self.admit, self.openness, self.certified = gate.admit, gate.openness, gate.certified
        self._snapshots = snapshots
        self._wanted = deployment
        self._of: Snapshot | None = None
        self._grant: Grant | None = None

    def authenticate(self, headers: Mapping[bytes, bytes], query: str, peer: str) -> Grant:  # noqa: ARG002  # as any gate; nobody needs a key
        """The bound grant. Raises Unavailable while there is no such deployment, or it is not known which one is meant."""
        return self.grant()

    def grant(self) -> Grant:
        """What every caller may do. Raises Unavailable."""
        snapshot = self._snapshots.current
        if self._grant is None or self._of is not snapshot:
            self._grant, self._of = self._bind(snapshot), snapshot
        return self._grant

    def _bind(self, snapshot: Snapshot) -> Grant:
        workspace_id = _workspace(snapshot)
        names = [deployment.name for deployment in snapshot.deployments if deployment.workspace_id == workspace_id]
        if self._wanted:
            if self._wanted not in names:
                raise Unavailable(f"There is no deployment {self._wanted!r} yet.", retry_after=1.0)
            names = [self._wanted]
        if not names:
            raise Unavailable("Nothing is deployed yet; deploy a model first.", retry_after=1.0)
        if len(names) > 1:
            raise Unavailable("Several deployments are there; set MODELYARD_CONTRACT_DEPLOYMENT to the one that calls mean.")
        return Grant(
            workspace_id=workspace_id,
            key_id=0,
            public_id="contract",
            actions=frozenset({Action.INFER}),
            deployments=frozenset(names),
        )


class HostingGate(BoundGate):
    """Admits to the models that were loaded through the contract."""

    def __init__(self, gate: Gate, snapshots: SnapshotHolder) -> None:
        super().__init__(gate, snapshots)
        self._hosted: dict[str, Hosted] = {}

    def hosted(self) -> Mapping[str, Hosted]:
        """Models that are loaded, by the names that their callers know."""
        self.grant()
        return self._hosted

    def _bind(self, snapshot: Snapshot) -> Grant:
        workspace_id = _workspace(snapshot)
        self._hosted = {}
        for deployment in snapshot.deployments:
            version = snapshot.versions.get(deployment.routes[0].version_id) if deployment.routes else None
            tags = version.metadata.get("tags", {}) if version is not None else {}
            if deployment.workspace_id == workspace_id and NAME_TAG in tags:
                name = tags[NAME_TAG]
                self._hosted[name] = Hosted(name=name, url=tags.get(URL_TAG, ""), deployment=deployment.name)
        return Grant(
            workspace_id=workspace_id,
            key_id=0,
            public_id="contract",
            actions=frozenset({Action.INFER, Action.DEPLOY}),
            deployments=frozenset(each.deployment for each in self._hosted.values()) or _NOTHING,
        )


_NOTHING = frozenset({""})
"""No deployment has this name, while no names at all would mean every one."""


def _workspace(snapshot: Snapshot) -> int:
    return next((number for number, name in snapshot.workspaces.items() if name == _WORKSPACE), 0)
