"""The schema, as SQLAlchemy tables. ``migrations/`` builds the same, step by step; a test holds both together.

Every table has its ``workspace_id`` but those that know no tenant: ``workspaces`` themselves, ``settings``, ``usage_cursors`` and
``usage_segments``.
"""

from modelyard.store.tables.access import keys, memberships, principals
from modelyard.store.tables.audit import audit, audit_heads
from modelyard.store.tables.base import HEAD, metadata
from modelyard.store.tables.certificates import certificates
from modelyard.store.tables.jobs import jobs, pools
from modelyard.store.tables.limits import leases, limits, prices
from modelyard.store.tables.platform import settings, workspaces
from modelyard.store.tables.registry import alias_moves, aliases, datasets, models, version_files, versions
from modelyard.store.tables.serving import deployments, feedback, former_deployments, predictions
from modelyard.store.tables.shares import shares
from modelyard.store.tables.sign_in import passwords, providers, sessions
from modelyard.store.tables.usage import (
    usage_cursors,
    usage_days,
    usage_deployment_days,
    usage_hours,
    usage_minutes,
    usage_months,
    usage_segments,
)

__all__ = [
    "HEAD",
    "alias_moves",
    "aliases",
    "audit",
    "audit_heads",
    "certificates",
    "datasets",
    "deployments",
    "feedback",
    "former_deployments",
    "jobs",
    "keys",
    "leases",
    "limits",
    "memberships",
    "metadata",
    "models",
    "passwords",
    "pools",
    "predictions",
    "prices",
    "principals",
    "providers",
    "sessions",
    "settings",
    "shares",
    "usage_cursors",
    "usage_days",
    "usage_deployment_days",
    "usage_hours",
    "usage_minutes",
    "usage_months",
    "usage_segments",
    "version_files",
    "versions",
    "workspaces",
]
