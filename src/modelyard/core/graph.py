"""Inference graphs: several versions behind one deployment, declared in its policy and checked before anything is deployed.

A graph is written as a tree. A leaf is a version, ``model@number`` or ``model@alias``; it takes its inputs by name from what has been
computed before it, and otherwise from the call. A leaf with one input, of a name that nothing has computed, takes the only output
of the step right before it, if that fits. Numbers with fractions become those of the width that is wanted, and a last dimension of 1 is
added or left out, so that a Python function's plain numbers fit a model's columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.models import Reference
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype

DEEPEST, MOST = 16, 64
_FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})


class _Node(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """What all parts of a graph share."""


class Sequence(_Node, frozen=True, kw_only=True, tag="sequence"):
    """One after the other: each step sees the outputs of those before it."""

    steps: tuple[Node, ...]


class Ensemble(_Node, frozen=True, kw_only=True, tag="ensemble"):
    """All at once, and one answer of theirs: numbers with fractions as a weighted mean, everything else by weighted vote."""

    members: tuple[Node, ...]
    weights: tuple[float, ...] = ()
    """One for each member; empty for equal ones."""
    combine: Literal["mean", "vote"] = "mean"
    """``vote`` counts votes for fractions too."""


class Switch(_Node, frozen=True, kw_only=True, tag="switch"):
    """Each row goes to the case that its value of a field names."""

    field: str
    """An input of the call, or an output computed before, with one value a row."""
    cases: dict[str, Node]
    default: Node | None = None
    """For rows that no case names; without it such a call is refused."""


class Split(_Node, frozen=True, kw_only=True, tag="split"):
    """Each call goes to one of the branches by chance."""

    branches: tuple[Node, ...]
    weights: tuple[float, ...] = ()
    """One for each branch; empty for equal ones."""


Node = str | Sequence | Ensemble | Switch | Split


def versions_of(node: Node) -> Iterator[str]:
    """The versions of a graph, as written."""
    if isinstance(node, str):
        yield node
        return
    for child in children_of(node):
        yield from versions_of(child)


def children_of(node: Sequence | Ensemble | Switch | Split) -> tuple[Node, ...]:
    """What a part is made of."""
    if isinstance(node, Sequence):
        return node.steps
    if isinstance(node, Ensemble):
        return node.members
    if isinstance(node, Split):
        return node.branches
    return (*node.cases.values(), *(() if node.default is None else (node.default,)))


class Plan(NamedTuple):
    """What a part needs of the call, and what it gives."""

    needs: dict[str, TensorSpec]
    gives: dict[str, TensorSpec]


def plan(graph: Node, signature_of: Callable[[str], Signature]) -> Signature:
    """The signature of a graph as a whole.

    Raises InvalidRequest that names the part where names, datatypes or shapes do not fit together.
    """
    _check_size(graph, 1)
    if sum(1 for _ in versions_of(graph)) > MOST:
        raise InvalidRequest(f"The graph cannot be used: it has more than {MOST} versions.")
    found = _plan(graph, Before({}, {}), signature_of)
    return Signature(inputs=tuple(found.needs.values()), outputs=tuple(found.gives.values()))


def _check_size(node: Node, depth: int) -> None:
    if depth > DEEPEST:
        raise InvalidRequest(f"The graph cannot be used: it is more than {DEEPEST} parts deep.")
    if isinstance(node, str):
        try:
            wanted = Reference.parse(node)
        except ModelyardError as error:
            raise InvalidRequest(f"The graph cannot be used: {error.message}") from None
        if wanted.version in {"", "latest"}:
            raise InvalidRequest(f"The graph cannot be used: {node!r} names no version that stays; write {wanted.name}@NUMBER or @ALIAS.")
        return
    parts = children_of(node)
    kind = type(node).__name__.lower()
    if not parts:
        raise InvalidRequest(f"The graph cannot be used: a {kind} has nothing in it.")
    weights = node.weights if isinstance(node, Ensemble | Split) else ()
    if weights and (len(weights) != len(parts) or any(not 0 < weight < float("inf") for weight in weights)):
        raise InvalidRequest(f"The graph cannot be used: a {kind} needs {len(parts)} weights above 0, one for each of its parts, or none.")
    for part in parts:
        _check_size(part, depth + 1)


T = TypeVar("T")


class Before(NamedTuple, Generic[T]):
    """What is there when a part begins: every output before it by name, and those of the step right before it."""

    every: dict[str, T]
    last: dict[str, T]

    def then(self, gives: dict[str, T]) -> Before[T]:
        """What is there after a step that gives these."""
        return Before({**self.every, **gives}, gives)


def wired(signature: Signature, before: Before[T], alike: Callable[[T, TensorSpec], bool]) -> dict[str, str]:
    """Which name each input of a version is taken from: its own, or that of the only output right before it, where it is ``alike``."""
    if len(signature.inputs) == 1 and len(before.last) == 1:
        (spec,), (last,) = signature.inputs, before.last
        if spec.name not in before.every and alike(before.last[last], spec):
            return {spec.name: last}
    return {spec.name: spec.name for spec in signature.inputs}


def _alike(given: TensorSpec, wanted: TensorSpec) -> bool:
    return _becomes(given, wanted) is not None


def same_kind(given: Datatype, wanted: Datatype) -> bool:
    """Whether values of one datatype may be taken for another's."""
    return given == wanted or (given in _FLOATS and wanted in _FLOATS)


def ranks_meet(given: int, last_given: int | str, wanted: int, last_wanted: int | str) -> bool:
    """Whether dimensions are as many, or one more of size 1 at the end on either side."""
    return given == wanted or (given == wanted + 1 and last_given == 1) or (wanted == given + 1 and last_wanted == 1)


def _becomes(given: TensorSpec, wanted: TensorSpec) -> tuple[int | str, ...] | None:
    """The shape that a part takes what was computed before it in; None where it cannot."""
    shape, target = given.shape, wanted.shape
    if not same_kind(given.datatype, wanted.datatype) or not shape or not target:
        return shape if given.datatype == wanted.datatype and len(shape) == len(target) else None
    if not ranks_meet(len(shape), shape[-1], len(target), target[-1]):
        return None
    return shape if len(shape) == len(target) else shape[:-1] if len(shape) > len(target) else (*shape, 1)


def _plan(node: Node, before: Before[TensorSpec], signature_of: Callable[[str], Signature]) -> Plan:
    if isinstance(node, str):
        return _plan_version(node, before, signature_of(node))
    if isinstance(node, Sequence):
        return _plan_sequence(node, before, signature_of)
    plans = [_plan(part, before, signature_of) for part in children_of(node)]
    needs: dict[str, TensorSpec] = {}
    for found in plans:
        _join(needs, found.needs, "input")
    if isinstance(node, Switch) and node.field not in needs:
        spec = before.every.get(node.field)
        if spec is None:
            known = ", ".join(sorted({*needs, *before.every}))
            raise InvalidRequest(
                f"The graph cannot be used: it switches on {node.field!r}, which nothing computes or takes; there is: {known}."
            )
        _check_field(spec)
    elif isinstance(node, Switch):
        _check_field(needs[node.field])
    gives = dict(plans[0].gives)
    for found in plans[1:]:
        if found.gives.keys() != gives.keys():
            these, those = ", ".join(gives), ", ".join(found.gives)
            raise InvalidRequest(f"The graph cannot be used: parts of one {type(node).__name__.lower()} give {these} and {those}.")
        _join(gives, found.gives, "output")
    return Plan(needs, gives)


def _plan_version(name: str, before: Before[TensorSpec], signature: Signature) -> Plan:
    needs: dict[str, TensorSpec] = {}
    sources = wired(signature, before, _alike)
    for spec in signature.inputs:
        source = before.every.get(sources[spec.name])
        if source is None:
            needs[spec.name] = spec
            continue
        shape = _becomes(source, spec)
        if shape is None or not _fits(shape, spec.shape):
            raise InvalidRequest(
                f"The graph cannot be used: {name} takes {spec.name!r} as {spec.datatype} {spec.wire_shape}, but what comes before it "
                f"gives {source.name!r} as {source.datatype} {source.wire_shape}."
            )
    return Plan(needs, {spec.name: spec for spec in signature.outputs})


def _plan_sequence(node: Sequence, before: Before[TensorSpec], signature_of: Callable[[str], Signature]) -> Plan:
    needs: dict[str, TensorSpec] = {}
    for step in node.steps:
        found = _plan(step, before, signature_of)
        _join(needs, found.needs, "input")
        before = before.then(found.gives)
    return Plan(needs, before.last)


def _join(known: dict[str, TensorSpec], more: Mapping[str, TensorSpec], kind: str) -> None:
    for name, spec in more.items():
        other = known.setdefault(name, spec)
        if other.datatype != spec.datatype or not _fits(other.shape, spec.shape):
            raise InvalidRequest(
                f"The graph cannot be used: the {kind} {name!r} is {other.datatype} {other.wire_shape} in one part and "
                f"{spec.datatype} {spec.wire_shape} in another."
            )


def _check_field(spec: TensorSpec) -> None:
    if spec.datatype in _FLOATS or any(size not in {1, -1} for size in spec.wire_shape):
        raise InvalidRequest(
            f"The graph cannot be used: it switches on {spec.name!r}, which is {spec.datatype} {spec.wire_shape}; a text, a whole "
            "number or a truth value is needed, one in each row."
        )


def _fits(a: tuple[int | str, ...], b: tuple[int | str, ...]) -> bool:
    return len(a) == len(b) and all(isinstance(x, str) or isinstance(y, str) or x < 0 or y < 0 or x == y for x, y in zip(a, b, strict=True))
