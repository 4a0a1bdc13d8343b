"""Runs inference graphs inside a worker: each leaf is a version's own way in, so its calls join other calls' batches.

A graph is run by callbacks on the event loop, without tasks. One call is one usage record, which has the sums of its parts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from modelyard.core import graph
from modelyard.core.deployments import ServedDeployment, ServedVersion
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.graph import Before, Node, wired
from modelyard.core.inference import InferResponse
from modelyard.core.models import Artifact, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Lane
from modelyard.serving.statistics import CallStatistics

Arrays = dict[str, Array]
Outcome = Arrays | ModelyardError
Then = Callable[[Outcome], None]
_STEP = 1000


class GraphLane(Lane):
    """A graph in the place of a version. ``lanes`` are its versions by the names that the graph gives them."""

    __slots__ = ("_graph", "_lanes", "_random")

    def __init__(
        self,
        deployment: ServedDeployment,
        declared: Node,
        lanes: Mapping[str, Lane],
        statistics: CallStatistics,
        target: Lane | None = None,
    ) -> None:
        """``target`` is the version that the graph stands around, whose number and share it has then. Raises InvalidRequest when versions
        do not fit together.
        """
        first = target or next(iter(lanes.values()))
        signature = graph.plan(declared, lambda name: lanes[name].version.signature)
        version = ServedVersion(
            id=first.version.id,
            model=deployment.name,
            number=deployment.revision,
            artifact=Artifact(format="graph", digest="", files=(), entry=""),
            signature=signature,
            profile=Profile(),
        )
        if target is not None:
            version = msgspec.structs.replace(target.version, signature=signature)
        super().__init__(version, 100 if target is None else target.weight, first.batcher, statistics)
        self._graph, self._lanes = declared, lanes
        self._random = random.Random(deployment.id)  # noqa: S311 - which calls are split where matters to nobody
        self.submit = self.put = self._run

    def _run(self, call: Waiting) -> None:
        walk = _Walk(call, self._lanes, self._random)

        def ended(outcome: Outcome) -> None:
            taken_us = (time.monotonic_ns() - call.arrived_ns) // 1000
            if isinstance(outcome, ModelyardError):
                self.statistics.failure(taken_us)
                call.done(outcome)
                return
            self.statistics.success(1, call.rows, call.arrived_ns, call.arrived_ns + walk.queue_us * _STEP, time.monotonic_ns())
            wanted = {name: outcome[name] for name in call.outputs} if call.outputs else outcome
            version = self.version
            call.done(
                InferResponse(
                    wanted, version.model, version.number, version.id, call.rows, walk.queue_us, walk.compute_us, version.signature
                )
            )

        walk.node(self._graph, dict(call.inputs), Before({}, {}), ended)


class _Walk:
    """One call's way through a graph."""

    def __init__(self, call: Waiting, lanes: Mapping[str, Lane], chance: random.Random) -> None:
        self._call, self._lanes, self._chance = call, lanes, chance
        self.queue_us = self.compute_us = 0

    def node(self, node: Node, given: Arrays, before: Before[Array], then: Then) -> None:
        """Computes a part from the call's own inputs and what is there before it."""
        if isinstance(node, str):
            self._version(node, given, before, then)
        elif isinstance(node, graph.Sequence):
            self._sequence(node.steps, given, before, then)
        elif isinstance(node, graph.Ensemble):
            self._ensemble(node, given, before, then)
        elif isinstance(node, graph.Switch):
            self._switch(node, given, before, then)
        else:
            (branch,) = self._chance.choices(node.branches, node.weights or None)
            self.node(branch, given, before, then)

    def _version(self, name: str, given: Arrays, before: Before[Array], then: Then) -> None:
        lane = self._lanes[name]
        inputs = _inputs(lane.version.signature, given, before)

        def ended(outcome: InferResponse | ModelyardError) -> None:
            if isinstance(outcome, InferResponse):
                self.queue_us += outcome.queue_us
                self.compute_us += outcome.compute_us
                then(dict(outcome.outputs))
            else:
                then(outcome)

        try:
            rows = lane.check.rows(inputs)
            lane.batcher.put(Waiting(inputs, (), rows, time.monotonic_ns(), self._call.request, lane.statistics, ended))
        except ModelyardError as error:
            then(error)

    def _sequence(self, steps: tuple[Node, ...], given: Arrays, before: Before[Array], then: Then) -> None:
        first, rest = steps[0], steps[1:]

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, ModelyardError) or not rest:
                then(outcome)
            else:
                self._sequence(rest, given, before.then(outcome), then)

        self.node(first, given, before, ended)

    def _ensemble(self, node: graph.Ensemble, given: Arrays, before: Before[Array], then: Then) -> None:
        weights = node.weights or (1.0,) * len(node.members)

        def combined(found: list[Arrays]) -> Arrays:
            return {name: _combine([arrays[name] for arrays in found], weights, node.combine == "mean") for name in found[0]}

        parts = [(member, given, before) for member in node.members]
        self._all(parts, lambda found: then(found if isinstance(found, ModelyardError) else combined(found)))

    def _switch(self, node: graph.Switch, given: Arrays, before: Before[Array], then: Then) -> None:
        values = [_text(value) for value in before.every.get(node.field, given.get(node.field, np.empty(0))).reshape(-1)]
        places: dict[str, list[int]] = {}
        for place, value in enumerate(values):
            if value not in node.cases and node.default is None:
                known = ", ".join(node.cases)
                then(InvalidRequest(f"{node.field!r} is {value[:64]!r} in row {place}, for which there is no case; there are: {known}."))
                return
            places.setdefault(value if value in node.cases else "", []).append(place)
        picked = {name: np.asarray(rows, np.intp) for name, rows in places.items()}
        parts = []
        for name, rows in picked.items():
            part = node.cases.get(name, node.default)
            if part is not None:
                parts.append((part, _rows(given, rows), Before(_rows(before.every, rows), _rows(before.last, rows))))
        if not parts:
            then(InvalidRequest("The call has no rows to decide by."))
            return
        order = np.argsort(np.concatenate(list(picked.values())), kind="stable")

        def scattered(found: list[Arrays] | ModelyardError) -> None:
            if isinstance(found, ModelyardError):
                then(found)
                return
            try:
                then({name: np.concatenate([arrays[name] for arrays in found])[order] for name in found[0]})
            except ValueError:
                then(InvalidRequest("The cases of this call's rows gave outputs of different shapes; send such rows one by one."))

        self._all(parts, scattered)

    def _all(self, parts: list[tuple[Node, Arrays, Before[Array]]], then: Callable[[list[Arrays] | ModelyardError], None]) -> None:
        """Computes several parts at once; the first error is the outcome, once all have ended."""
        found: list[Any] = [None] * len(parts)
        left = len(parts)

        def ended(place: int, outcome: Outcome) -> None:
            nonlocal left
            found[place] = outcome
            left -= 1
            if not left:
                then(next((each for each in found if isinstance(each, ModelyardError)), found))

        for place, (node, given, before) in enumerate(parts):
            self.node(node, given, before, lambda outcome, place=place: ended(place, outcome))  # type: ignore[misc]  # bound now


def _inputs(signature: Signature, given: Arrays, before: Before[Array]) -> Arrays:
    found: Arrays = {}
    specs = {spec.name: spec for spec in signature.inputs}
    for name, source in wired(signature, before, _alike).items():
        array = before.every.get(source)
        if array is None:
            array = given.get(source)
        elif name in specs:
            array = _as_wanted(array, specs[name])
        if array is not None:
            found[name] = array
    return found


def _alike(given: Array, wanted: TensorSpec) -> bool:
    if given.dtype != wanted.datatype.numpy and not (given.dtype.kind == "f" and wanted.datatype.numpy.kind == "f"):
        return False
    if not given.ndim or not wanted.shape:
        return given.ndim == len(wanted.shape)
    return graph.ranks_meet(given.ndim, given.shape[-1], len(wanted.shape), wanted.shape[-1])


def _as_wanted(array: Array, spec: TensorSpec) -> Array:
    """What was computed before, in the width and with the last dimension that a part takes; what does not fit is left to its check."""
    if not _alike(array, spec):
        return array
    if array.ndim != len(spec.shape):
        array = array[..., 0] if array.ndim > len(spec.shape) else array[..., np.newaxis]
    return array.astype(spec.datatype.numpy, copy=False)


def _rows(arrays: Arrays, rows: Array) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    plain = value.item() if isinstance(value, np.generic) else value
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _combine(arrays: list[Array], weights: tuple[float, ...], mean: bool) -> Array:
    if mean and arrays[0].dtype.kind == "f":
        total = sum(weights)
        summed = sum(array.astype(np.float64) * (weight / total) for array, weight in zip(arrays, weights, strict=True))
        return np.asarray(summed, arrays[0].dtype)
    return _vote(arrays, weights)


def _vote(arrays: list[Array], weights: tuple[float, ...]) -> Array:
    """In each place the value with most weight behind it; of equals that of the earlier member."""
    columns = [array.reshape(-1) for array in arrays]
    winner = columns[0].copy()
    best = np.full(len(winner), -1.0)
    for column in columns:
        behind = np.zeros(len(winner))
        for other, weight in zip(columns, weights, strict=True):
            behind += weight * np.asarray(other == column, np.float64)
        better = behind > best
        winner[better], best[better] = column[better], behind[better]
    return winner.reshape(arrays[0].shape)


def names_in(deployment: ServedDeployment, lanes: Mapping[int, Lane], declared: Node) -> dict[str, Lane] | str:
    """Lanes by the names that a graph gives its versions; or the name of one that is not loaded."""
    found: dict[str, Lane] = {}
    for name in graph.versions_of(declared):
        lane = lanes.get(deployment.references.get(name, 0))
        if lane is None:
            return name
        found[name] = lane
    return found
