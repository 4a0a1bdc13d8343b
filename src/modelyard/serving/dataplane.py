"""The data plane of one worker: from a deployment's name to an answer, for every protocol alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from mypy_extensions import mypyc_attr

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import ModelyardError, NotFound, Unsupported, did_you_mean
from modelyard.core.generation import Cancel, Emit, GenerateRequest
from modelyard.core.inference import InferDone, InferRequest
from modelyard.core.shares import ServedShare
from modelyard.core.web_policy import Caching
from modelyard.runtimes.base import TEXT_SIGNATURE
from modelyard.serving.generating import Counted
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Lane, Routes, ServedView, Sticky
from modelyard.serving.statistics import CallStatistics

__all__ = ["DataPlane", "ServedView"]


class Starting(Protocol):
    """A version's replicas on their way to be ready; see ``replicas.remote.RemoteReplica``."""

    @property
    def ready_ns(self) -> int:
        """Monotonic time at which one last became ready after none was; 0 when none was yet."""

    @property
    def stage(self) -> str:
        """How far the furthest of them is, in a word."""


@mypyc_attr(allow_interpreted_subclasses=True)
class DataPlane:
    """What this worker serves now. Belongs to the event loop; the reconciler puts, replaces and removes deployments.

    A name means nothing outside its workspace: lookups begin with the caller's, so nothing can be learned of another's. What is shared
    with it has a name there too.
    """

    def __init__(self) -> None:
        self._workspaces: dict[int, dict[str, Routes]] = {}
        self._shared: set[tuple[int, str]] = set()
        """Names that stand for deployments of other workspaces."""
        self.sticky: dict[tuple[int, str], Sticky] = {}
        """Deployments that assign callers to versions; mostly none."""
        self.caching: dict[tuple[int, str], Caching] = {}
        """Deployments whose answers to GET may be kept."""
        self.guarded: dict[tuple[int, str], Callable[[], None]] = {}
        """Deployments with an objective: each raises Unavailable while another call could not be answered in time."""
        self.starting: dict[int, Starting] = {}
        """Versions that run in replicas and have none ready, by id; mostly none."""
        self.accepting = False
        """Whether this worker has its state and takes calls; set by the reconciler, cleared when the worker drains."""

    def infer(self, workspace_id: int, deployment: str, request: InferRequest, done: InferDone) -> None:
        """Computes one call; ``done`` gets the outcome, in this turn of the loop (errors of the request) or a later one."""
        try:
            lane = self._workspaces[workspace_id][deployment].choose(request.version)
        except (KeyError, ModelyardError) as error:
            done(self._missing(workspace_id, deployment) if isinstance(error, KeyError) else error)
            return
        now_ns = time.monotonic_ns()
        try:
            rows = lane.check.rows(request.inputs)
            for name in request.outputs:
                lane.version.signature.output(name)
            wanted = _extras(request.extras, lane, deployment) if request.extras else request.outputs
            if request.admit is not None and not _admitted(request, rows, lane, done):
                return
            lane.submit(Waiting(request.inputs, wanted, rows, now_ns, request, lane.statistics, done))
        except ModelyardError as error:
            lane.statistics.failure((time.monotonic_ns() - now_ns) // 1000)
            done(error)

    def generate(self, workspace_id: int, deployment: str, request: GenerateRequest, emit: Emit) -> Cancel:
        """Begins a generation; ``emit`` is called on the event loop. Raises NotFound, Unavailable and Unsupported."""
        lane = self._routes(workspace_id, deployment).choose(request.version)
        if lane.version.signature != TEXT_SIGNATURE:
            raise Unsupported(f"Deployment {deployment!r} does not generate text; call it with its inputs.")
        return lane.batcher.replica.generate(request, Counted(lane.statistics, emit).emit)

    def served(self, workspace_id: int, deployment: str, version: str = "") -> ServedView:
        """The version that a number or alias selects; without one, the version with most traffic. The same for equal arguments.

        Raises NotFound for an unknown deployment or version, Unavailable while nothing of it is loaded.
        """
        return self._routes(workspace_id, deployment).heaviest(version).view

    def choose(self, workspace_id: int, deployment: str, version: str = "") -> ServedView:
        """As ``served``, but without a version one is chosen by weight; name it in the request to be answered by that one."""
        return self._routes(workspace_id, deployment).choose(version).view

    def assigned(self, workspace_id: int, deployment: str, key_id: int, headers: Mapping[bytes, bytes]) -> str:
        """What a call that names no version is to name, where the deployment assigns callers; otherwise empty."""
        sticky = self.sticky.get((workspace_id, deployment))
        return "" if sticky is None else sticky.choose(key_id, headers)

    def lanes(self, workspace_id: int, deployment: str) -> list[ServedView]:
        """Every version that the deployment serves; none while it loads. Raises NotFound."""
        return [lane.view for lane in self._routes(workspace_id, deployment).lanes]

    def ready(self, workspace_id: int, deployment: str, version: str = "") -> bool:
        """Whether calls are answered. Raises NotFound for an unknown deployment, or version of a deployment that is ready."""
        routes = self._routes(workspace_id, deployment)
        return bool(routes.lanes) and routes.heaviest(version).view.ready

    def state(self, workspace_id: int, deployment: str) -> tuple[DeploymentState, str]:
        """How far the deployment is, and why not further. Raises NotFound."""
        routes = self._routes(workspace_id, deployment)
        return routes.state, routes.reason

    def awaited(self, workspace_id: int, deployment: str, version: str = "") -> Starting | None:
        """The start that a call waits for; None when it need not wait, or there is no such deployment or version."""
        try:
            lane = self._workspaces[workspace_id][deployment].heaviest(version)
        except (KeyError, ModelyardError):
            return None
        return self.starting.get(lane.version.id)

    def names(self, workspace_id: int) -> list[str]:
        """The deployments of a workspace."""
        return list(self._workspaces.get(workspace_id, ()))

    def put(self, routes: Routes) -> None:
        """Serves a deployment, or replaces it: calls that come after this go the new way."""
        deployment = routes.deployment
        self._workspaces.setdefault(deployment.workspace_id, {})[deployment.name] = routes
        self._forget_policy(deployment.workspace_id, deployment.name)
        if routes.caching is not None:
            self.caching[deployment.workspace_id, deployment.name] = routes.caching
        if routes.sticky is not None:
            self.sticky[deployment.workspace_id, deployment.name] = routes.sticky
        if routes.turn_away is not None:
            self.guarded[deployment.workspace_id, deployment.name] = routes.turn_away

    def remove(self, workspace_id: int, deployment: str) -> None:
        """Ends a deployment; calls under way are still answered."""
        names = self._workspaces.get(workspace_id, {})
        names.pop(deployment, None)
        self._forget_policy(workspace_id, deployment)
        if not names:
            self._workspaces.pop(workspace_id, None)

    def _forget_policy(self, workspace_id: int, deployment: str) -> None:
        self.sticky.pop((workspace_id, deployment), None)
        self.caching.pop((workspace_id, deployment), None)
        self.guarded.pop((workspace_id, deployment), None)

    def share(self, shares: Iterable[ServedShare]) -> None:
        """Serves deployments under the names that other workspaces have for them; names of before that are not among these end."""
        owned = {routes.deployment.id: routes for routes in self}
        wished = {(share.borrower_id, share.name): owned[share.deployment_id] for share in shares if share.deployment_id in owned}
        for borrower_id, name in self._shared - wished.keys():
            self.remove(borrower_id, name)
        self._shared = set(wished)
        for (borrower_id, name), routes in wished.items():
            self.put(routes.shared(borrower_id, name))

    def __iter__(self) -> Iterator[Routes]:
        """Every deployment once, as its owner has it."""
        for workspace_id, names in self._workspaces.items():
            for name, routes in names.items():
                if (workspace_id, name) not in self._shared:
                    yield routes

    def statistics(self) -> Iterator[tuple[int, str, Lane, CallStatistics]]:
        """Workspace, deployment, lane and counts of everything served."""
        for routes in self:
            for lane in routes.lanes:
                yield routes.deployment.workspace_id, routes.deployment.name, lane, lane.statistics

    def _routes(self, workspace_id: int, deployment: str) -> Routes:
        try:
            return self._workspaces[workspace_id][deployment]
        except KeyError:
            raise self._missing(workspace_id, deployment) from None

    def _missing(self, workspace_id: int, deployment: str) -> NotFound:
        names = self._workspaces.get(workspace_id, {})
        return NotFound(f"There is no deployment {deployment[:64]!r}.{did_you_mean(deployment[:64], names)}")


def _extras(wanted: tuple[str, ...], lane: Lane, deployment: str) -> tuple[str, ...]:
    """Raises Unsupported for what the version does not give."""
    known = {spec.name for spec in lane.version.signature.extras}
    if not known.issuperset(wanted):
        raise Unsupported(f"Deployment {deployment[:64]!r} serves a version that does not give {', '.join(wanted)}.")
    return wanted


def _admitted(request: InferRequest, rows: int, lane: Lane, done: InferDone) -> bool:
    """Whether a limit lets the call pass, now that its rows are known; a refusal is no failure of the model."""
    try:
        if request.admit is not None:
            request.admit(rows, lane.version.id)
    except ModelyardError as error:
        done(error)
        return False
    return True
