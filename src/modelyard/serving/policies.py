"""Puts in front of a deployment's versions what its policy asks for; without a policy nothing is put anywhere."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import count

from modelyard.core.deployments import DeploymentState, ServedDeployment
from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.core.inference import Cost, InferResponse
from modelyard.core.policy import EMPTY, Policy
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Caller
from modelyard.serving.router import Lane, Routes
from modelyard.serving.shadow import ShadowLane
from modelyard.serving.sticky import StickyChoice
from modelyard.serving.tallies import Later, Tallies

logger = logging.getLogger(__name__)

Append = Callable[[Caller, int, Cost, ProtocolId, CallKind, int, int], None]
"""As ``gate.journal.Journal.append``."""


class Composer:
    """Makes routes of lanes; this one without looking at policies."""

    def routes(self, deployment: ServedDeployment, lanes: Sequence[Lane], state: DeploymentState, reason: str = "") -> Routes:
        """The routes of a deployment whose loaded versions are ``lanes``; takes the place of those made for it before."""
        return Routes(deployment, lanes, state, reason)

    def keep(self, deployments: Set[int]) -> None:
        """Drops what is kept for deployments that are not among these."""


@dataclass(frozen=True, kw_only=True)
class PolicyTools:
    """What policies need of a worker."""

    tallies: Tallies
    later: Later
    append: Append
    """Writes a usage record."""


class PolicyComposer(Composer):
    """Makes routes as policies say. Belongs to the event loop."""

    def __init__(self, tools: PolicyTools) -> None:
        self._tools = tools
        self._shadows: dict[int, ShadowLane] = {}
        self._boot = secrets.token_bytes(8)
        self._counter = count(1)

    def routes(self, deployment: ServedDeployment, lanes: Sequence[Lane], state: DeploymentState, reason: str = "") -> Routes:
        routes = Routes(deployment, lanes, state, reason)
        self._stop(deployment.id)
        policy = _policy(deployment) if deployment.policy else EMPTY
        if policy == EMPTY:
            return routes
        routes.caching = policy.caching
        routed = [lane for lane in lanes if lane.weight]
        if policy.sticky is not None:
            routes.sticky = StickyChoice(policy.sticky, [(lane.version.id, lane.weight) for lane in routed])
        if policy.shadow is not None:
            self._cast(deployment, policy, lanes, routed)
        if policy.shadow is not None or policy.experiment is not None or policy.rollout is not None:
            told = self._tools.tallies.of(deployment.id, deployment.revision)
            for lane in routed:
                lane.submit = self._tools.tallies.counted(lane.submit, told, lane.version.id)
        return routes

    def keep(self, deployments: Set[int]) -> None:
        for gone in self._shadows.keys() - deployments:
            self._stop(gone)
        self._tools.tallies.keep(deployments)

    def _stop(self, deployment_id: int) -> None:
        shadow = self._shadows.pop(deployment_id, None)
        if shadow is not None:
            shadow.stop()

    def _cast(self, deployment: ServedDeployment, policy: Policy, lanes: Sequence[Lane], routed: Sequence[Lane]) -> None:
        """Puts the shadow behind every version that callers are routed to, once it is loaded."""
        wanted = policy.shadow
        target = next((lane for lane in lanes if wanted and lane.version.id == deployment.references.get(wanted.version)), None)
        # An alias may have moved to a version that calls are routed to already; that is not compared with itself.
        if wanted is None or target is None or target.weight:
            return
        tools = self._tools
        told = tools.tallies.of(deployment.id, deployment.revision)
        shadow = ShadowLane(wanted, target, told.shadow, tools.later, partial(self._record, deployment))
        self._shadows[deployment.id] = shadow
        for lane in routed:
            lane.submit = shadow.behind(lane.submit, lane.batcher)

    def _record(self, deployment: ServedDeployment, response: InferResponse) -> None:
        cost = Cost(rows=response.rows, queue_us=response.queue_us, compute_us=response.compute_us, version_id=response.version_id)
        caller = (self._boot + next(self._counter).to_bytes(8, "big"), deployment.workspace_id, 0, deployment.id)
        try:
            self._tools.append(caller, 200, cost, ProtocolId.OTHER, CallKind.SHADOW, 0, 0)
        except Unavailable as error:
            logger.warning("A shadow's run is not recorded: %s", error.message)


def _policy(deployment: ServedDeployment) -> Policy:
    try:
        return Policy.of(deployment.policy)
    except InvalidRequest as error:  # only one that was stored before policies were checked
        logger.warning("Deployment %s is served without its policy: %s", deployment.name, error.message)
        return EMPTY
