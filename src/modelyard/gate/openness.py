"""What a snapshot's deployments say to callers without a key and to pages of other origins. Looked at for such calls only."""

from __future__ import annotations

import logging
from collections import Counter
from ipaddress import ip_address
from typing import Protocol

from modelyard.core.access import Action, Grant
from modelyard.core.clock import Clock
from modelyard.core.deployments import ServedDeployment
from modelyard.core.errors import InvalidRequest, LimitExceeded, Unauthenticated
from modelyard.core.policy import Policy
from modelyard.core.web_policy import Cors, Public
from modelyard.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
ANONYMOUS = "public"
"""What stands for the key of callers without one."""
_MINUTE_NS = 60_000_000_000
_MOST_ADDRESSES = 100_000


class Holder(Protocol):
    """Where the current snapshot is."""

    current: Snapshot


class Openness:
    """Of the current snapshot. Belongs to one thread."""

    def __init__(self, holder: Holder, clock: Clock) -> None:
        self._holder, self._now = holder, clock.monotonic_ns
        self._of: Snapshot | None = None
        self._public: dict[str, tuple[ServedDeployment, Public, Grant]] = {}
        self._cors: dict[tuple[int, str], Cors] = {}
        self._origins: dict[str, list[Cors]] = {}
        self._minute = 0
        self._calls: Counter[tuple[int, str]] = Counter()

    @property
    def any_public(self) -> bool:
        """Whether some deployment may be called without a key."""
        self._follow()
        return bool(self._public)

    def anonymous(self, name: str, peer: str) -> Grant:
        """The grant of a caller without a key to the public deployment of this name.

        Raises Unauthenticated when there is none, LimitExceeded when the address has called too often.
        """
        self._follow()
        found = self._public.get(name)
        if found is None:
            raise Unauthenticated("")
        deployment, public, grant = found
        if public.requests_per_minute_by_address:
            self._count(deployment.id, peer, public.requests_per_minute_by_address)
        return grant

    def cors(self, workspace_id: int, name: str, origin: str) -> bool:
        """Whether pages of ``origin`` may read answers of a deployment."""
        self._follow()
        found = self._cors.get((workspace_id, name))
        return found is not None and _allows(found, origin)

    def preflight(self, name: str, origin: str) -> Cors | None:
        """What some deployment of this name, of whatever workspace, allows ``origin``: whose key will come is not known yet."""
        self._follow()
        return next((cors for cors in self._origins.get(name, ()) if _allows(cors, origin)), None)

    def _count(self, deployment_id: int, peer: str, most: int) -> None:
        minute = self._now() // _MINUTE_NS
        if minute != self._minute or len(self._calls) > _MOST_ADDRESSES:
            self._minute = minute
            self._calls.clear()
        key = (deployment_id, _network(peer))
        self._calls[key] += 1
        if self._calls[key] > most:
            wait = (_MINUTE_NS - self._now() % _MINUTE_NS) / 1e9
            raise LimitExceeded(f"Callers without a key may make {most} requests a minute from one address.", retry_after=wait)

    def _follow(self) -> None:
        snapshot = self._holder.current
        if snapshot is self._of:
            return
        self._of = snapshot
        self._public, self._cors, self._origins = {}, {}, {}
        for deployment in sorted(snapshot.deployments, key=lambda deployment: deployment.id):
            if deployment.policy:
                self._take_in(deployment)

        for (borrower_id, name), share in snapshot.shares.items():
            shared = snapshot.deployment(borrower_id, name)
            cors = self._cors.get((shared.workspace_id, shared.name)) if shared is not None else None
            if cors is not None:
                self._cors[borrower_id, share.name] = cors
                self._origins.setdefault(share.name, []).append(cors)

    def _take_in(self, deployment: ServedDeployment) -> None:
        try:
            policy = Policy.of(deployment.policy)
        except InvalidRequest as error:  # stored before policies were checked
            logger.warning("The policy of deployment %s opens it to nobody: %s", deployment.name, error.message)
            return
        if policy.public is not None:
            # Names are unique among public deployments; should that ever be broken, the older one keeps the name.
            self._public.setdefault(deployment.name, (deployment, policy.public, _grant(deployment)))
        if policy.cors is not None:
            self._cors[deployment.workspace_id, deployment.name] = policy.cors
            self._origins.setdefault(deployment.name, []).append(policy.cors)


def _grant(deployment: ServedDeployment) -> Grant:
    return Grant(
        workspace_id=deployment.workspace_id,
        key_id=0,
        public_id=ANONYMOUS,
        actions=frozenset({Action.INFER}),
        deployments=frozenset({deployment.name}),
    )


def _allows(cors: Cors, origin: str) -> bool:
    return origin in cors.origins or "*" in cors.origins


def _network(peer: str) -> str:
    """An address, or for IPv6 its network of 64 bits, which one customer has to himself."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    return address.exploded[:19] if address.version == 6 else peer
