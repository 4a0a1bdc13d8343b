"""What the management API calls, put together by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.core.access import Grant
from modelyard.core.clock import Clock
from modelyard.core.machine import Resources
from modelyard.gate.limits import LimitService, PriceService
from modelyard.gate.refusals import Refusals
from modelyard.gate.shares import ShareService
from modelyard.identity.certificates import CertificateService
from modelyard.identity.keys import KeyService
from modelyard.identity.members import MemberService
from modelyard.identity.oidc import OpenIdService
from modelyard.identity.people import PeopleService
from modelyard.identity.workspaces import WorkspaceService
from modelyard.jobs.pools import PoolService
from modelyard.jobs.queue import JobQueue
from modelyard.ledger.audit import AuditLog
from modelyard.registry.service import Registry
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.rollout import RolloutService
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.encryption import Sealer
from modelyard.store.home import Home

Authenticate = Callable[[Mapping[bytes, bytes], str, str], Grant]
"""From headers (names in lower case), the raw query and the address to the caller's rights; raises Unauthenticated, PermissionDenied."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a request may need. The callables are called from several threads at once."""

    home: Home
    store: Store
    blobs: Blobs
    registry: Registry
    keys: KeyService
    certificates: CertificateService
    workspaces: WorkspaceService
    members: MemberService
    people: PeopleService
    openid: OpenIdService
    audit: AuditLog
    refusals: Refusals
    limits: LimitService
    prices: PriceService
    shares: ShareService
    jobs: JobQueue
    pools: PoolService
    deployments: DeploymentService
    rollouts: RolloutService
    sealer: Sealer
    authenticate: Authenticate
    clock: Clock
    status: Callable[[int], dict[str, Any]]
    """What ``GET /api/v1/status`` answers to a workspace."""
    resources: Callable[[int | None], Resources]
    """What the machine and the platform's processes use; jobs and replicas of one workspace only, or all for None."""
    propagate: Callable[[], bool]
    """Returns when all workers act on what is committed, or after a second; whether they do."""
    ready: Callable[[], str]
    """Why this process should get no calls; empty when it should."""
    metrics: Callable[[], bytes]
    """The Prometheus page, merged over processes."""
    inference_url: str
    """Base URL of the inference listener; a host of 0.0.0.0 or :: stands for the one that the caller reached us at."""
    import_unconfined: bool = False
    """Whether formats that can run code are taken where they cannot be confined."""
    max_upload_bytes: int = 20 * 2**30
    garbage_age_seconds: float = 86400.0
    """Age below which an upload that nothing refers to is never collected, whatever a caller asks for: it may be in use."""
