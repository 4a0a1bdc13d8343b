"""Which version of a deployment answers a call: by weight, by number or by alias."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import msgspec
from mypy_extensions import mypyc_attr

from modelyard.core.deployments import DeploymentState, ServedDeployment, ServedVersion
from modelyard.core.errors import NotFound, Unavailable, did_you_mean
from modelyard.core.signature import Signature
from modelyard.core.web_policy import Caching
from modelyard.serving.admission import InputCheck
from modelyard.serving.batching import Batcher
from modelyard.serving.replica import Waiting
from modelyard.serving.statistics import CallStatistics


@dataclass(frozen=True, slots=True)
class ServedView:
    """What protocols may tell of a deployment's version."""

    name: str
    """The deployment."""
    model: str
    number: int
    version_id: int
    signature: Signature
    versions: tuple[int, ...] = ()
    """Numbers of all versions that the deployment serves."""
    labels: dict[str, int] = field(default_factory=dict)
    """Aliases that select one of them."""
    ready: bool = True
    state: DeploymentState = DeploymentState.READY
    format: str = ""
    pin: str = ""
    """Names exactly this version in a request, although it was chosen and not asked for."""
    statistics: CallStatistics = field(default_factory=CallStatistics)


def pin_of(version_id: int) -> str:
    """How a request names the version that was chosen for it."""
    return f"={version_id}"


def is_pin(version: str) -> bool:
    """Whether a request's version was chosen for it, by weight or assignment; no alias begins like this."""
    return version.startswith("=")


class Sticky(Protocol):
    """Assigns callers to versions."""

    def choose(self, key_id: int, headers: Mapping[bytes, bytes]) -> str:
        """The pin of the version for calls like this one; empty where it is left to chance."""


Submit = Callable[[Waiting], None]
"""Takes a call that fits the signature, and answers it later through its ``done``; raises Unavailable when there is no room."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Lane:
    """One version within one deployment: where its calls go, and what they count for."""

    __slots__ = ("apart", "batcher", "check", "put", "statistics", "submit", "version", "view", "weight")

    def __init__(self, version: ServedVersion, weight: int, batcher: Batcher, statistics: CallStatistics) -> None:
        self.version = version
        self.weight = weight
        self.batcher = batcher
        self.submit: Submit = batcher.submit
        """Where calls go; what a policy asks for stands in front of the batcher here."""
        self.put: Submit = batcher.put
        """The same for what keeps an objective, which says by itself who would wait in vain, and learns from those who do."""
        self.apart: Callable[[int], Submit] | None = None
        """Makes the same for calls of another workspace, where those of two must not meet; None where nothing of them could."""
        self.statistics = statistics
        self.check = InputCheck(version.signature)
        self.view = ServedView(name="", model=version.model, number=version.number, version_id=version.id, signature=version.signature)

    def lent(self, borrower_id: int) -> Lane:
        """The same for calls of another workspace."""
        lane = Lane(self.version, self.weight, self.batcher, self.statistics)
        lane.submit = self.submit if self.apart is None else self.apart(borrower_id)
        lane.apart = self.apart
        return lane


class Routes:
    """A deployment as a worker serves it. Immutable but for its random numbers; a change of routes makes a new one."""

    def __init__(self, deployment: ServedDeployment, lanes: Sequence[Lane], state: DeploymentState, reason: str = "") -> None:
        self.deployment = deployment
        self.lanes = self.sources = tuple(lanes)
        """What calls choose from. ``sources`` are the loaded versions behind it, where a policy makes one lane of several."""
        self.state = state
        self.reason = reason
        # Seeded, so that tests repeat; shares over many calls are all that matters.
        self._random = random.Random(deployment.id).random  # noqa: S311
        self.sticky: Sticky | None = None
        """Which version a caller is assigned to, where the policy says so."""
        self.caching: Caching | None = None
        """Whether, and how long, answers to GET may be kept."""
        self.turn_away: Callable[[], None] | None = None
        """Raises Unavailable for a call that could not be answered in time; None where no objective is kept."""
        self._single = self.lanes[0] if len(self.lanes) == 1 else None
        self._heaviest = max(self.lanes, key=lambda lane: lane.weight, default=None)
        self._bounds = list(accumulate(lane.weight for lane in self.lanes))
        self._total = self._bounds[-1] if self._bounds else 0
        self._selected = self._by_version()
        self._set_views()

    def _by_version(self) -> dict[str, Lane]:
        found: dict[str, Lane] = {}
        # Heavier routes win where two models of one deployment share a number or an alias.
        for lane in sorted(self.lanes, key=lambda lane: lane.weight):
            found.update((alias, lane) for alias in lane.version.aliases)
        for lane in sorted(self.lanes, key=lambda lane: lane.weight):
            found[str(lane.version.number)] = lane
        return found | {pin_of(lane.version.id): lane for lane in self.lanes}

    def _set_views(self) -> None:
        numbers = tuple(sorted({lane.version.number for lane in self.lanes}))
        labels = {name: lane.version.number for name, lane in self._selected.items() if not name.isdigit() and not is_pin(name)}
        for lane in self.lanes:
            lane.view = ServedView(
                name=self.deployment.name,
                model=lane.version.model,
                number=lane.version.number,
                version_id=lane.version.id,
                signature=lane.version.signature,
                versions=numbers,
                labels=labels,
                ready=True,
                state=self.state,
                format=lane.version.artifact.format,
                pin=pin_of(lane.version.id),
                statistics=lane.statistics,
            )

    def shared(self, borrower_id: int, name: str) -> Routes:
        """The same for the keys of another workspace, which call it ``name``."""
        lanes = [lane.lent(borrower_id) for lane in self.lanes]
        deployment = msgspec.structs.replace(self.deployment, workspace_id=borrower_id, name=name)
        routes = Routes(deployment, lanes, self.state, self.reason)
        routes.sticky, routes.caching, routes.turn_away = self.sticky, self.caching, self.turn_away
        return routes

    def choose(self, version: str) -> Lane:
        """The lane of a version number or alias; without one, a lane by weight.

        Raises NotFound for a version that is not served, Unavailable while none is.
        """
        if version:
            return self._select(version)
        if self._single is not None:
            return self._single
        if not self.lanes:
            raise self._unavailable()
        if not self._total:
            return self.lanes[0]
        return self.lanes[bisect_right(self._bounds, self._random() * self._total)]

    def heaviest(self, version: str = "") -> Lane:
        """The lane that answers questions about the deployment: the selected one, or the one with most traffic."""
        if version:
            return self._select(version)
        if self._heaviest is None:
            raise self._unavailable()
        return self._heaviest

    def _select(self, version: str) -> Lane:
        lane = self._selected.get(version)
        if lane is not None:
            return lane
        if not self.lanes:
            raise self._unavailable()
        served = [name for name in self._selected if not is_pin(name)]
        raise NotFound(
            f"Deployment {self.deployment.name!r} serves no version {version[:64]!r}.{did_you_mean(version[:64], served)}"
            f" It serves: {', '.join(served)}."
        )

    def _unavailable(self) -> Unavailable:
        name = self.deployment.name
        if self.state is DeploymentState.FAILED:
            return Unavailable(f"Deployment {name!r} cannot be served: {self.reason}", retry_after=10.0)
        return Unavailable(f"Deployment {name!r} is loading; try again shortly.", retry_after=1.0)
