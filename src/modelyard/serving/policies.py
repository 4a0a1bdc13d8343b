"""Puts in front of a deployment's versions what its policy asks for; without a policy nothing is put anywhere."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import count
from weakref import WeakValueDictionary

from modelyard.core.cost import Cost
from modelyard.core.deployments import DeploymentState, ServedDeployment
from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.core.graph import Node as Graph
from modelyard.core.inference import InferResponse
from modelyard.core.policy import EMPTY, Cache, Policy
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.serving.cache import ResponseCache
from modelyard.serving.gathering import Gathering
from modelyard.serving.graph import GraphLane, names_in
from modelyard.serving.overload import LoopLag, Overload, Pace, turn_away
from modelyard.serving.router import Lane, Routes
from modelyard.serving.shadow import ShadowLane
from modelyard.serving.statistics import CallStatistics
from modelyard.serving.sticky import StickyChoice
from modelyard.serving.tallies import Later, Tallies
from modelyard.store.records import Caller

logger = logging.getLogger(__name__)

Append = Callable[[Caller, int, Cost, ProtocolId, CallKind, int, int], bool]
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
        self._gatherings: dict[int, list[Gathering]] = {}
        """By deployment."""
        self._caches: dict[int, tuple[Cache, ResponseCache]] = {}
        self._paces: WeakValueDictionary[int, Pace] = WeakValueDictionary()
        """Of each version as a whole, whichever of its deployments calls came by: by the id of its batcher, which guards keep as long."""
        self._lag = LoopLag(tools.later)
        self._counts: dict[tuple[int, int], CallStatistics] = {}
        """Of graphs as a whole, and of targets with their steps: by deployment and version, which is 0 for a graph."""
        self._boot = secrets.token_bytes(8)
        self._counter = count(1)

    def routes(self, deployment: ServedDeployment, lanes: Sequence[Lane], state: DeploymentState, reason: str = "") -> Routes:
        routes = Routes(deployment, lanes, state, reason)
        self._stop(deployment.id)
        policy = _policy(deployment) if deployment.policy else EMPTY
        if policy == EMPTY:
            return routes
        if policy.graph is not None:
            return self._graph(deployment, policy, policy.graph, (lanes, state, reason))
        sources = tuple(lanes)
        if policy.steps:
            around = self._around(deployment, policy, lanes)
            if isinstance(around, str):
                routes = Routes(deployment, (), state if reason else DeploymentState.FAILED, reason or around)
                routes.sources = sources
                return routes
            lanes = around
            routes = Routes(deployment, lanes, state, reason)
            routes.sources = sources
        routes.caching = policy.caching
        routed = [lane for lane in lanes if lane.weight]
        if policy.sticky is not None:
            routes.sticky = StickyChoice(policy.sticky, [(lane.version.id, lane.weight) for lane in routed])
        self._guard(policy, lanes, routes)
        self._gather(deployment, policy, lanes)
        if policy.shadow is not None:
            self._cast(deployment, policy, lanes, routed)
        if policy.shadow is not None or policy.experiment is not None or policy.rollout is not None:
            told = self._tools.tallies.of(deployment.id, deployment.revision)
            for lane in routed:
                lane.submit = self._tools.tallies.counted(lane.submit, told, lane.version.id)
        for lane in lanes:
            self._keep_answers(deployment, policy, lane, lane.version.artifact.digest)
        return routes

    def keep(self, deployments: Set[int]) -> None:
        for gone in (self._shadows.keys() | self._gatherings.keys()) - deployments:
            self._stop(gone)
        self._counts = {key: counts for key, counts in self._counts.items() if key[0] in deployments}
        self._caches = {identity: cache for identity, cache in self._caches.items() if identity in deployments}
        self._tools.tallies.keep(deployments)

    def _stop(self, deployment_id: int) -> None:
        shadow = self._shadows.pop(deployment_id, None)
        if shadow is not None:
            shadow.stop()
        for gathering in self._gatherings.pop(deployment_id, ()):
            gathering.release()

    def _graph(
        self, deployment: ServedDeployment, policy: Policy, graph: Graph, loaded: tuple[Sequence[Lane], DeploymentState, str]
    ) -> Routes:
        """One lane for the whole graph, once all its versions are loaded."""
        lanes, state, reason = loaded
        named = names_in(deployment, {lane.version.id: lane for lane in lanes}, graph)
        if isinstance(named, str):
            routes = Routes(deployment, (), state, reason or f"{named} is not there")
        else:
            whole = GraphLane(deployment, graph, named, self._counts.setdefault((deployment.id, 0), CallStatistics()))
            routes = Routes(deployment, [whole], state, reason)
            self._guard(policy, [whole], routes)
            self._keep_answers(deployment, policy, whole, " ".join([lane.version.artifact.digest for lane in named.values()]))
        routes.sources, routes.caching = tuple(lanes), policy.caching
        return routes

    def _around(self, deployment: ServedDeployment, policy: Policy, lanes: Sequence[Lane]) -> list[Lane] | str:
        """Each target with the steps before and after it as one lane; or why that cannot be."""
        steps = names_in(deployment, {lane.version.id: lane for lane in lanes}, policy.around(policy.steps[0]))
        if isinstance(steps, str):
            return f"{steps} is not there"
        standing = {lane.version.id for lane in steps.values()}
        found: list[Lane] = []
        for lane in lanes:
            if lane.version.id in standing:
                continue
            name = f"{lane.version.model}@{lane.version.number}"
            counts = self._counts.setdefault((deployment.id, lane.version.id), CallStatistics())
            try:
                found.append(GraphLane(deployment, policy.around(name), {**steps, name: lane}, counts, lane))
            except InvalidRequest as error:
                return error.message
        return found

    def _guard(self, policy: Policy, lanes: Sequence[Lane], routes: Routes) -> None:
        """Puts the objective in front of versions, where there is one."""
        if not policy.objective_ms:
            return
        guards = [
            Overload(policy.objective_ms, lane.batcher, self._paces.setdefault(id(lane.batcher), Pace()), self._lag) for lane in lanes
        ]
        for lane, guard in zip(lanes, guards, strict=True):
            lane.submit = guard.before(lane.put)
        # Answers that are kept may be given however many calls are inside.
        if lanes and policy.cache is None:
            routes.turn_away = turn_away(lanes, guards)

    def _gather(self, deployment: ServedDeployment, policy: Policy, lanes: Sequence[Lane]) -> None:
        """Lets calls wait for each other before versions, where that is wanted."""
        if policy.batching is None:
            return
        self._gatherings[deployment.id] = made = [Gathering(policy.batching, lane.batcher, self._tools.later) for lane in lanes]
        for lane, gathering in zip(lanes, made, strict=True):
            lane.submit = gathering.before(lane.submit)

    def _keep_answers(self, deployment: ServedDeployment, policy: Policy, lane: Lane, digest: str) -> None:
        """Puts the cache in front of a version, where there is one."""
        if policy.cache is not None:
            cache = self._cache(deployment.id, policy.cache)
            before, name = partial(cache.before, lane.submit), f"{digest} {deployment.policy.get('graph', '')}"
            lane.apart = partial(before, digest=name)
            lane.submit = before(deployment.workspace_id, name)

    def _cache(self, deployment_id: int, wanted: Cache) -> ResponseCache:
        """The deployment's cache; a new one when the policy has changed. What it keeps is each version's own."""
        known = self._caches.get(deployment_id)
        if known is None or known[0] != wanted:
            known = self._caches[deployment_id] = (wanted, ResponseCache(wanted))
        return known[1]

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


def turns_of(deployments: Sequence[ServedDeployment]) -> dict[int, tuple[int, int]]:
    """Of each version whose its runs are, and of which rank: that of its most important deployment. A shadow's are unimportant."""
    found: dict[int, tuple[int, int]] = {}
    for deployment in deployments:
        policy = _policy(deployment) if deployment.policy else EMPTY
        shadow = deployment.references.get(policy.shadow.version, 0) if policy.shadow is not None else 0
        for route in deployment.routes:
            rank = _RANKS["low" if route.version_id == shadow and not route.weight else policy.priority]
            known = found.get(route.version_id)
            if known is None or rank < known[1]:
                found[route.version_id] = (deployment.workspace_id, rank)
    return found


_RANKS = {"high": 0, "normal": 1, "low": 2}


def _policy(deployment: ServedDeployment) -> Policy:
    try:
        return Policy.of(deployment.policy)
    except InvalidRequest as error:  # only one that was stored before policies were checked
        logger.warning("Deployment %s is served without its policy: %s", deployment.name, error.message)
        return EMPTY
