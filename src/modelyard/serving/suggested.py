"""The policy that a version brings from where it was served before, or that its tuning chose, for a deployment that is made without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard.core.deployments import Deployment
from modelyard.core.models import Version
from modelyard.registry.service import TUNING
from modelyard.store.database import Session

SUGGESTED = "policy"
"""Where a version's lineage has it."""


def suggested(session: Session, wish: Deployment, versions: Sequence[Version]) -> dict[str, Any]:
    """What the only target of a new deployment suggests: how its tuning chose, or how it was served before, where versions that were
    imported with it answer those who name them.
    """
    if len(versions) != 1:
        return {}
    if TUNING in versions[0].report:
        return dict(versions[0].report[TUNING].get("policy", {}))
    found = versions[0].lineage.detail.get(SUGGESTED)
    if not isinstance(found, dict):
        return {}
    newest = versions[0]
    beside = [
        version.reference
        for version in session.versions.list(wish.workspace_id, newest.model)
        if version.lineage.job_id == newest.lineage.job_id and version.number != newest.number
    ]
    return {**found, **({"also": beside} if beside else {})}
