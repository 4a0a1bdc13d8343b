"""A deployment's policy: what else holds for its calls, besides which versions answer them.

It is kept as plain JSON and read through ``Policy``. What people write goes through ``parse_policy``, which refuses what it does
not know; what is stored is read with ``Policy.of``, which ignores fields of a newer version.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from modelyard.core.deployments import ReplicaPolicy, Target
from modelyard.core.errors import InvalidRequest, ModelyardError, did_you_mean
from modelyard.core.graph import Node as Graph
from modelyard.core.graph import Sequence, versions_of
from modelyard.core.models import Reference
from modelyard.core.web_policy import Caching, Cors, Public, check_web

MOST_PERCENT = 100.0
MOST_STEPS = 8


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all parts of a policy share."""


class Sticky(_Part, frozen=True, kw_only=True):
    """Calls that belong together are answered by the same version while the weights stay, and mostly when they change."""

    by: Literal["key", "header"] = "key"
    """What says that calls belong together: the caller's key, or a header."""
    header: str = ""
    """Its name; a call without it is assigned by chance, as the weights say."""


class Shadow(_Part, frozen=True, kw_only=True):
    """A copy of calls goes to another version as well. Callers neither wait for it nor pay for it."""

    version: str
    """``model@number`` or ``model@alias``."""
    percent: float = 100.0
    """Of the calls that weights route."""
    tolerance: float = 1e-4
    """How far numbers may differ, absolutely or relative to the larger one, and still agree. Everything else must be equal."""
    outputs: tuple[str, ...] = ()
    """Which outputs are compared; empty for all."""
    queue: int = 256
    """Copies that may wait in one worker; more are dropped."""


Compared = Literal["errors", "latency", "outcome"]


class Experiment(_Part, frozen=True, kw_only=True):
    """An A/B comparison of the candidate with the other targets, which may be looked at as often as one likes."""

    candidate: str
    """``model@number`` or ``model@alias``, among the targets."""
    metrics: tuple[Compared, ...] = ("errors", "latency", "outcome")
    alpha: float = 0.05
    """The chance of calling versions different that are not, over all metrics and all looks."""
    higher_is_better: bool = True
    """Of the outcome that users report."""
    min_calls: int = 100
    """Of each side, before latency and outcome are compared."""


class Rules(_Part, frozen=True, kw_only=True):
    """What a candidate must keep. A rule that is left out does not bind."""

    min_calls: int = 100
    """Of the candidate (or, before it gets any, of its shadow), before anything is decided."""
    max_error_rate: float | None = None
    """From 0 to 1; errors that the caller caused do not count."""
    max_p99_ms: float | None = None
    min_agreement: float | None = None
    """From 0 to 1, of rows compared in shadow."""
    metric: str = ""
    """A held-out metric that the versions were stored with, e.g. ``accuracy``."""
    max_metric_drop: float = 0.0
    """How far the candidate's metric may lie below that of every other target."""


class Rollout(_Part, frozen=True, kw_only=True):
    """The candidate gets more calls step by step while it keeps the rules, and none once it breaks one."""

    candidate: str
    """``model@number`` or ``model@alias``: among the targets, or the shadow."""
    steps: tuple[float, ...] = ()
    """Percent of the calls, growing; after the last one, or without any, the candidate is promoted: it gets all."""
    hold_seconds: float = 60.0
    """How long each step lasts at least."""
    rules: Rules = Rules()
    alias: str = ""
    """Moved to the candidate when it is promoted."""


class Cache(_Part, frozen=True, kw_only=True):
    """Answers are kept in each worker and given to equal calls; for versions whose answers follow from the inputs alone."""

    seconds: float = 60.0
    """How long an answer is given."""
    max_bytes: int = 16 << 20
    """What the answers of one worker may take."""
    coalesce: bool = True
    """Equal calls that are under way at once are computed once."""


class Batching(_Part, frozen=True, kw_only=True):
    """How calls are gathered to be computed together, where rows are independent."""

    max_rows: int = 0
    """Most rows of calls that share a run; 0 leaves it to the platform."""
    delay_ms: float = 0.0
    """How long a call may wait for others to come; 0, the default, computes what is there, which loads by itself into larger runs."""


class Policy(_Part, frozen=True, kw_only=True):
    """Everything that a deployment may declare; the default asks for nothing and costs nothing."""

    sticky: Sticky | None = None
    shadow: Shadow | None = None
    experiment: Experiment | None = None
    rollout: Rollout | None = None
    graph: Graph | None = None
    """Several versions as one: see ``core.graph``. The deployment has no targets then."""
    before: tuple[str, ...] = ()
    """Versions, mostly Python functions, that every call goes through before its target: ``model@number`` or ``model@alias``."""
    after: tuple[str, ...] = ()
    """The same for what the target gives; callers get what the last one makes of it."""
    also: tuple[str, ...] = ()
    """Versions that are served as well, to calls that name them: ``model@number`` or ``model@alias``."""
    batching: Batching | None = None
    cache: Cache | None = None
    objective_ms: float = 0.0
    """Within this time calls are to be answered: batches are made no larger than it allows, and calls refused that would take longer."""
    priority: Literal["high", "normal", "low"] = "normal"
    """Which of a workspace's runs goes first where they wait for a thread; workspaces share threads alike whatever they say here."""
    isolation: Literal["shared", "own"] = "shared"
    """``own`` runs the versions in replica processes even where they could run inside workers."""
    replicas: ReplicaPolicy | None = None
    """How many replica processes; giving it means ``own``."""
    public: Public | None = None
    cors: Cors | None = None
    caching: Caching | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Policy:
        """What a stored policy says.

        Raises InvalidRequest for one that was never checked.
        """
        try:
            return msgspec.convert(dict(stored), cls)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The policy cannot be used: {_place(str(error))}.") from None
        except UnicodeError:
            raise InvalidRequest("The policy cannot be used: it has text that is no Unicode (half of a surrogate pair).") from None

    @property
    def own_processes(self) -> ReplicaPolicy | None:
        """How the versions run in replica processes; None where they may run inside workers."""
        if self.replicas is not None:
            return self.replicas
        return ReplicaPolicy() if self.isolation == "own" else None

    @property
    def steps(self) -> tuple[str, ...]:
        """Versions that stand around each target."""
        return (*self.before, *self.after)

    def around(self, target: str) -> Graph:
        """What calls of a target go through, as a graph."""
        return Sequence(steps=(*self.before, target, *self.after))

    @property
    def references(self) -> tuple[str, ...]:
        """Versions that it names, as written."""
        found = [self.shadow.version] if self.shadow is not None else []
        found += [part.candidate for part in (self.experiment, self.rollout) if part is not None]
        found += versions_of(self.graph) if self.graph is not None else ()
        found += [*self.steps, *self.also]
        return tuple(dict.fromkeys(found))


EMPTY = Policy()


def target_of(written: str) -> Target:
    """A version that a policy names, as a target without a share. Raises InvalidRequest for what names none."""
    reference = Reference.parse(written)
    return Target(model=reference.name, version=reference.version, weight=0)


def named_by(target: Target) -> str:
    """How a policy names a target's version."""
    return f"{target.model}@{target.version}"


def parse_policy(written: Mapping[str, Any]) -> Policy:
    """The policy that somebody wrote.

    Raises InvalidRequest that names the field and what is wrong with it.
    """
    _check_known(Policy, written, "")
    policy = Policy.of(written)
    _check_sticky(policy.sticky)
    _check_shadow(policy.shadow)
    _check_experiment(policy.experiment)
    _check_rollout(policy)
    _check_serving(policy)
    _check_steps(policy)
    for field in ("sticky", "shadow", "experiment", "rollout") if policy.graph is not None else ():
        if getattr(policy, field) is not None:
            raise _wrong(field, "a graph has no targets to choose from; leave it out, or split inside the graph")
    if policy.replicas is not None and policy.replicas.min > policy.replicas.max:
        raise _wrong("replicas.max", f"{policy.replicas.max} is less than min, which is {policy.replicas.min}")
    check_web(policy.public, policy.cors, policy.caching)
    return policy


def _check_sticky(sticky: Sticky | None) -> None:
    if sticky is None:
        return
    if sticky.by == "header" and not sticky.header:
        raise _wrong("sticky.header", "name the header that callers send, like x-user-id")
    if sticky.by == "key" and sticky.header:
        raise _wrong("sticky.header", "it has no meaning while 'by' is 'key'; set 'by' to 'header'")
    if sticky.header and not (sticky.header.isascii() and sticky.header.replace("-", "").replace("_", "").isalnum()):
        raise _wrong("sticky.header", f"{sticky.header!r} is no header's name")


def _check_serving(policy: Policy) -> None:
    cache = policy.cache
    if cache is not None and not 0 < cache.seconds <= 7 * 86_400:
        raise _wrong("cache.seconds", f"{cache.seconds:g} is not above 0 and at most a week")
    if cache is not None and not 1024 <= cache.max_bytes <= 1 << 32:
        raise _wrong("cache.max_bytes", f"{cache.max_bytes} is not from 1024 to {1 << 32}")
    batching = policy.batching
    if batching is not None and not (0 <= batching.max_rows <= 65536 and 0 <= batching.delay_ms <= 1000):
        raise _wrong("batching", "max_rows is from 0 to 65536, and delay_ms from 0 to 1000")
    if batching is not None and (policy.objective_ms or policy.graph is not None or policy.steps):
        raise _wrong("batching", "runs are sized by objective_ms, and those of a graph or of steps by each version; leave it out")
    for place, written in enumerate(policy.also):
        _check_reference(f"also[{place}]", written)
    if not 0 <= policy.objective_ms <= 3_600_000:
        raise _wrong("objective_ms", f"{policy.objective_ms:g} is not from 0 to 3600000")


def _check_steps(policy: Policy) -> None:
    for field, steps in (("before", policy.before), ("after", policy.after)):
        for place, written in enumerate(steps):
            _check_reference(f"{field}[{place}]", written)
        if len(steps) > MOST_STEPS:
            raise _wrong(field, f"{len(steps)} steps are more than {MOST_STEPS}; do more in each")
        if steps and policy.graph is not None:
            raise _wrong(field, "a graph has no targets to stand around; make it a step of the graph")
    if len(set(policy.steps)) < len(policy.steps):
        raise _wrong("after" if policy.after else "before", "the same version stands there twice; use each once")


def _check_shadow(shadow: Shadow | None) -> None:
    if shadow is None:
        return
    _check_reference("shadow.version", shadow.version)
    if not 0 < shadow.percent <= MOST_PERCENT:
        raise _wrong("shadow.percent", f"{shadow.percent:g} is not above 0 and at most 100")
    if not 0 <= shadow.tolerance < 1:
        raise _wrong("shadow.tolerance", f"{shadow.tolerance:g} is not from 0 to below 1")
    if not 1 <= shadow.queue <= 10_000:
        raise _wrong("shadow.queue", f"{shadow.queue} is not from 1 to 10000")


def _check_experiment(experiment: Experiment | None) -> None:
    if experiment is None:
        return
    _check_reference("experiment.candidate", experiment.candidate)
    if not 0 < experiment.alpha <= 0.5:
        raise _wrong("experiment.alpha", f"{experiment.alpha:g} is not above 0 and at most 0.5")
    if not experiment.metrics:
        raise _wrong("experiment.metrics", "name at least one of errors, latency and outcome")
    if experiment.min_calls < 10:
        raise _wrong("experiment.min_calls", f"{experiment.min_calls} is less than 10")


def _check_rollout(policy: Policy) -> None:
    rollout = policy.rollout
    if rollout is None:
        return
    _check_reference("rollout.candidate", rollout.candidate)
    if any(not 0 < step < MOST_PERCENT for step in rollout.steps) or list(rollout.steps) != sorted(set(rollout.steps)):
        raise _wrong("rollout.steps", "write percentages that grow, each above 0 and below 100, like [5, 25, 50]")
    if rollout.hold_seconds < 0:
        raise _wrong("rollout.hold_seconds", "it cannot be negative")
    if policy.experiment is not None and policy.experiment.candidate != rollout.candidate:
        raise _wrong("rollout.candidate", f"the experiment's candidate is {policy.experiment.candidate!r}; name the same version in both")
    _check_rules(rollout.rules, shadowed=policy.shadow is not None and policy.shadow.version == rollout.candidate)


def _check_rules(rules: Rules, *, shadowed: bool) -> None:
    if rules.min_calls < 1:
        raise _wrong("rollout.rules.min_calls", f"{rules.min_calls} is less than 1")
    for name in ("max_error_rate", "min_agreement"):
        share = getattr(rules, name)
        if share is not None and not 0 <= share <= 1:
            raise _wrong(f"rollout.rules.{name}", f"{share:g} is not from 0 to 1")
    if rules.max_p99_ms is not None and rules.max_p99_ms <= 0:
        raise _wrong("rollout.rules.max_p99_ms", "it must be above 0")
    if rules.min_agreement is not None and not shadowed:
        raise _wrong("rollout.rules.min_agreement", "agreement is measured in shadow only; set shadow.version to the candidate")
    if rules.max_metric_drop < 0 or (rules.max_metric_drop and not rules.metric):
        raise _wrong("rollout.rules.max_metric_drop", "it must not be negative, and needs 'metric'")


def _check_reference(field: str, written: str) -> None:
    try:
        reference = Reference.parse(written)
    except ModelyardError as error:
        raise _wrong(field, error.message.rstrip(".")) from None
    if reference.version in {"", "latest"}:
        raise _wrong(field, f"{written!r} names no version that stays; write {reference.name}@NUMBER or {reference.name}@ALIAS")


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"The policy cannot be used: {field}: {why}.")


def _check_known(kind: type[msgspec.Struct], written: Mapping[str, Any], path: str) -> None:
    """Raises InvalidRequest for a field that no policy has, at any depth."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag_field
    for name, value in written.items():
        if name in fields:
            _check_value(fields[name], value, f"{path}{name}")
        elif name != tag:
            near, where = did_you_mean(str(name), fields), f" of {path[:-1]}" if path else ""
            raise InvalidRequest(f"The policy cannot be used: {path}{name} is no field{where}.{near} Fields: {', '.join(fields)}.")


def _check_value(annotation: Any, value: Any, path: str) -> None:
    options = _options(annotation)
    if isinstance(value, Mapping):
        kind = next(
            (option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct) and _is(option, value)), None
        )
        if kind is not None:
            _check_known(kind, value, f"{path}.")
        for option in options if kind is None else ():
            if typing.get_origin(option) is dict:
                for name, item in value.items():
                    _check_value(typing.get_args(option)[1], item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for option in options:
            if typing.get_origin(option) is tuple:
                for at, item in enumerate(value):
                    _check_value(typing.get_args(option)[0], item, f"{path}[{at}]")


def _is(kind: type[msgspec.Struct], value: Mapping[str, Any]) -> bool:
    """Whether a mapping means this struct: by its tag, where it has one."""
    config = kind.__struct_config__
    return config.tag_field is None or value.get(config.tag_field) == config.tag


def _options(annotation: Any) -> list[Any]:
    """The sides of a union, or the type itself."""
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        return [option for argument in typing.get_args(annotation) for option in _options(argument)]
    return [annotation]


def _place(sentence: str) -> str:
    """msgspec's own sentence with its place in front, as people write it."""
    what, _, where = sentence.partition(" - at `$.")
    what = what[:1].lower() + what[1:].replace("`", "'")
    return f"{where.rstrip('`')}: {what}" if where else what
