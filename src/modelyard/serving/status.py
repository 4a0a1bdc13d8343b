"""How far reality has come towards a deployment's wish, merged from what workers report."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modelyard.core.deployments import Deployment, DeploymentState
from modelyard.core.models import Version
from modelyard.serving.reports import WorkerReport

_WAITING = "no worker has seen it yet"


class VersionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One routed version over all workers."""

    version_id: int
    model: str
    number: int
    state: DeploymentState
    reason: str = ""
    workers: dict[int, DeploymentState] = {}
    """Worker's slot → how far it is."""
    unloaded: tuple[int, ...] = ()
    """Slots of workers in which it is out of memory until the next call."""


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment over all its versions and workers."""

    state: DeploymentState
    reason: str = ""
    """Why it is not ready, where it is not."""
    versions: tuple[VersionStatus, ...] = ()


def merge(deployment: Deployment, versions: Sequence[Version], gone: Sequence[str], reports: Sequence[WorkerReport]) -> DeploymentStatus:
    """The status of ``deployment``, whose targets resolve to ``versions`` now; ``gone`` says which targets resolve to nothing."""
    found = tuple(_version(deployment, version, reports) for version in versions)
    states = [version.state for version in found] + [DeploymentState.FAILED for _ in gone]
    reasons = [*gone, *(f"{version.model}@{version.number}: {version.reason}" for version in found if version.reason)]
    if not reports:
        return DeploymentStatus(state=DeploymentState.PENDING, reason="; ".join([*gone, _WAITING]), versions=found)
    return DeploymentStatus(state=_merged(states), reason="; ".join(reasons), versions=found)


def _version(deployment: Deployment, version: Version, reports: Sequence[WorkerReport]) -> VersionStatus:
    workers: dict[int, DeploymentState] = {}
    reasons: list[str] = []
    unloaded: list[int] = []
    for report in reports:
        told = report.versions.get(version.id)
        state = told.state if told is not None else DeploymentState.PENDING
        behind = report.deployments.get(deployment.id, 0) < deployment.revision
        if behind and state in {DeploymentState.READY, DeploymentState.FAILED}:
            state = DeploymentState.LOADING  # the routes are still the old ones, and what failed did so under the old policy
        workers[report.slot] = state
        if told is not None and not told.in_memory:
            unloaded.append(report.slot)
        if told is not None and told.reason and not behind and told.reason not in reasons:
            reasons.append(told.reason)
    return VersionStatus(
        version_id=version.id,
        model=version.model,
        number=version.number,
        state=_merged(list(workers.values())),
        reason="; ".join(reasons),
        workers=workers,
        unloaded=tuple(unloaded),
    )


def _merged(states: Sequence[DeploymentState]) -> DeploymentState:
    seen = set(states)
    if not seen or seen == {DeploymentState.PENDING}:
        return DeploymentState.PENDING
    if seen == {DeploymentState.READY}:
        return DeploymentState.READY
    if seen == {DeploymentState.FAILED}:
        return DeploymentState.FAILED
    if DeploymentState.DEGRADED in seen or {DeploymentState.READY, DeploymentState.FAILED} <= seen:
        return DeploymentState.DEGRADED
    return DeploymentState.LOADING
