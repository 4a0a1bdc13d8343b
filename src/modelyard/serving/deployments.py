"""The wish side of deployments: checked, written with its audit row, and compared with what workers report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.core.api import DeploymentView
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.graph import plan
from modelyard.core.models import Reference, Version, check_name
from modelyard.core.policy import Policy, named_by, parse_policy, target_of
from modelyard.core.signature import TensorSpec
from modelyard.gate.shares import end_share
from modelyard.registry.resolve import CHAMPION, LATEST, find_model, find_version
from modelyard.registry.service import flagged
from modelyard.runtimes.base import TEXT_SIGNATURE
from modelyard.serving.publisher import references_of
from modelyard.serving.reports import Reports, WorkerReport
from modelyard.serving.status import DeploymentStatus, merge
from modelyard.serving.suggested import suggested
from modelyard.store.database import Session, Store

MAX_TARGETS = 100
MAX_POLICY_BYTES = 65536
Versions = list[Version]


class DeploymentService:
    """Deployments of every workspace. Safe to use from several threads; workers act when the next snapshot is published."""

    def __init__(self, store: Store, reports: Reports) -> None:
        self._store, self._reports = store, reports

    def deploy(
        self,
        actor: Actor,
        name: str,
        targets: Sequence[Target],
        policy: dict[str, Any] | None = None,
        expect_revision: int | None = None,
        *,
        accept_flagged: bool = False,
    ) -> DeploymentView:
        """Makes ``name`` route to ``targets``, as a new deployment or a new revision; asking for what stands changes nothing.

        A target's version is a number or an alias; ``latest`` is the newest now, fixed; empty is the alias ``champion`` where that
        is set, and otherwise the newest now. ``policy`` None leaves it as it is; a new deployment then runs as its version's tuning chose,
        or as the version was served where it was brought from.
        A version that was flagged beside its parent answers callers only with ``accept_flagged``, which the audit row tells; what is
        served already, and what only shadows, needs no such word.
        Raises NotFound (naming the nearest), InvalidRequest when the targets do not fit together or the policy cannot be read,
        Conflict when the deployment is not at ``expect_revision``, and for a flagged version.
        """
        check_name(name, "deployment")
        if policy is not None:
            _check_policy(policy)
        with self._store.write() as session:
            current = session.deployments.get(actor.workspace_id, name)
            rules = policy if policy is not None else current.policy if current is not None else {}
            _check_shares(targets, graph=bool(rules.get("graph")))
            settled = tuple(_settled(session, actor.workspace_id, target) for target in targets)
            if len({(target.model, target.version) for target in settled}) < len(settled):
                raise InvalidRequest("Two targets name the same version; join their weights.")
            wish = Deployment(id=0, workspace_id=actor.workspace_id, name=name, targets=settled, policy=rules)
            if policy is None and current is None:
                found = [find_version(session, actor.workspace_id, _reference(target)) for target in settled]
                wish = msgspec.structs.replace(wish, policy=suggested(session, wish, found))
            check_fit(wish)
            _check_public(session, wish)
            versions = [find_version(session, actor.workspace_id, _reference(target)) for target in needed(wish)]
            check_versions(wish, versions)
            doubtful = _doubtful(wish, current, versions)
            if doubtful and not accept_flagged:
                raise _flagged(doubtful[0])
            accepted = [version.reference for version in doubtful]
            made = _write(session, actor, wish, current, expect_revision, accepted=accepted)
            return _view(session, made, self._reports())

    def undeploy(self, actor: Actor, name: str) -> None:
        """Takes the name away, from those it is shared with too; calls under way are answered. Raises NotFound."""
        with self._store.write() as session:
            deployment = need(session, actor.workspace_id, name)
            for share in session.shares.given(actor.workspace_id):
                if share.deployment_id == deployment.id:
                    end_share(session, actor, share)
            session.deployments.remove(actor.workspace_id, name)
            session.audit.append(actor, "deployment.remove", name, before=_told(deployment))

    def get(self, workspace_id: int, name: str) -> DeploymentView:
        """One deployment with its state. Raises NotFound."""
        with self._store.read() as session:
            return _view(session, need(session, workspace_id, name), self._reports())

    def list(self, workspace_id: int) -> list[DeploymentView]:
        """Every deployment of a workspace with its state, by name."""
        reports = self._reports()
        with self._store.read() as session:
            return [_view(session, deployment, reports) for deployment in session.deployments.list(workspace_id)]

    def versions(self, workspace_id: int, name: str) -> Versions:
        """What it routes to now, in the order of its targets. Raises NotFound."""
        with self._store.read() as session:
            return _resolved(session, need(session, workspace_id, name))[0]

    def status(self, workspace_id: int, name: str) -> DeploymentStatus:
        """State and reasons by version and worker. Raises NotFound."""
        with self._store.read() as session:
            return _status(session, need(session, workspace_id, name), self._reports())


def _check_shares(targets: Sequence[Target], *, graph: bool) -> None:
    if graph and targets:
        raise InvalidRequest("A deployment with a graph has no targets: the graph names its versions. Leave the targets out, or the graph.")
    if not graph and not 0 < len(targets) <= MAX_TARGETS:
        raise InvalidRequest(f"A deployment needs 1 to {MAX_TARGETS} targets, each a model's version with a weight.")
    for target in targets:
        if not 0 < target.weight <= 1_000_000:
            raise InvalidRequest(f"The weight of {target.model!r} is {target.weight}; weights are 1 to 1000000, relative to each other.")


def check_fit(wish: Deployment) -> None:
    """Raises InvalidRequest where the policy names a candidate that gets no calls, or the only version there is."""
    policy = Policy.of(wish.policy)
    names = [named_by(target) for target in wish.targets]
    shadow = policy.shadow.version if policy.shadow is not None else ""
    if shadow in names:
        raise InvalidRequest(f"The policy cannot be used: shadow.version: {shadow} is among the targets already; shadow another version.")
    for part, field, others in ((policy.experiment, "experiment", []), (policy.rollout, "rollout", [shadow] if shadow else [])):
        if part is None:
            continue
        allowed = [*names, *others]
        if part.candidate not in allowed:
            raise InvalidRequest(
                f"The policy cannot be used: {field}.candidate: {part.candidate} is not among {', '.join(allowed)}; add it to the targets"
                f"{', make it the shadow' if field == 'rollout' else ''}, or take {field!r} out of the policy."
            )
        if names == [part.candidate]:
            raise InvalidRequest(f"The policy cannot be used: {field}.candidate: {part.candidate} is the only target; nothing to compare.")


def needed(deployment: Deployment) -> list[Target]:
    """Its targets, and what its policy names besides, without a share."""
    names = {named_by(target) for target in deployment.targets}
    return [*deployment.targets, *(target_of(written) for written in references_of(deployment) if written not in names)]


def _doubtful(wish: Deployment, current: Deployment | None, versions: Sequence[Version]) -> list[Version]:
    """Flagged versions that would begin to answer callers."""
    new = _answering(wish) - (_answering(current) if current is not None else set())
    return [version for target, version in zip(needed(wish), versions, strict=True) if named_by(target) in new and flagged(version)]


def _answering(deployment: Deployment) -> set[str]:
    """What answers callers, or will once a rollout comes to it; what only shadows does not."""
    policy = Policy.of(deployment.policy)
    names = {named_by(target) for target in needed(deployment)}
    if policy.shadow is not None and not (policy.rollout is not None and policy.rollout.candidate == policy.shadow.version):
        names.discard(policy.shadow.version)
    return names


def _flagged(version: Version) -> Conflict:
    return Conflict(
        f"{version.reference} was flagged beside its parent: {flagged(version)}. Deploy another version, or say that you accept it: "
        "--accept-flagged, or accept_flagged in the API."
    )


def _check_policy(policy: dict[str, Any]) -> None:
    try:
        size = len(msgspec.json.encode(policy))
    except (TypeError, ValueError) as error:
        raise InvalidRequest("The policy must be plain JSON.") from error
    if size > MAX_POLICY_BYTES:
        raise InvalidRequest(f"The policy takes {size} bytes as JSON; at most {MAX_POLICY_BYTES} are kept.")
    parse_policy(policy)


def _check_public(session: Session, wish: Deployment) -> None:
    """Callers without a key have no workspace, so a public deployment's name means the same to all of them."""
    if "public" not in wish.policy:
        return
    for other in session.deployments.all():
        if other.name == wish.name and other.workspace_id != wish.workspace_id and "public" in other.policy:
            raise Conflict(f"Another workspace has a public deployment {wish.name!r}; choose another name: its callers have no key.")


def _reference(target: Target) -> Reference:
    return Reference.parse(f"{target.model}@{target.version}" if target.version else target.model)


def _settled(session: Session, workspace_id: int, target: Target) -> Target:
    """The target with a version that keeps its meaning: a number, or an alias that is followed."""
    reference = _reference(target)
    if reference.version in {"", LATEST}:
        model = find_model(session, workspace_id, reference.name)
        if not reference.version and CHAMPION in model.aliases:
            return msgspec.structs.replace(target, version=CHAMPION)
        if not model.latest:
            raise NotFound(f"Model {model.name!r} has no version yet.")
        return msgspec.structs.replace(target, version=str(model.latest))
    return msgspec.structs.replace(target, version=reference.version)


def check_versions(wish: Deployment, versions: Sequence[Version]) -> None:
    """Raises InvalidRequest where versions do not fit: side by side, or into the graph that the policy declares."""
    declared = Policy.of(wish.policy).graph
    if declared is not None:
        signatures = {named_by(target): version.signature for target, version in zip(needed(wish), versions, strict=True)}
        plan(declared, lambda written: signatures[named_by(target_of(written))])
        return
    first, *_ = versions = _with_steps(wish, versions)
    for version in versions:
        _check_alike(first, version, "input", first.signature.inputs, version.signature.inputs)
        _check_alike(first, version, "output", first.signature.outputs, version.signature.outputs)


def _with_steps(wish: Deployment, versions: Sequence[Version]) -> list[Version]:
    """The versions that callers can tell apart, each with the signature that it has with the steps around it."""
    policy = Policy.of(wish.policy)
    if not policy.steps:
        return list(versions)
    by_name = {named_by(target): version for target, version in zip(needed(wish), versions, strict=True)}
    steps = {written: by_name[named_by(target_of(written))] for written in policy.steps}
    standing = {version.id for version in steps.values()}
    targets = {f"{version.model}@{version.number}": version for version in versions if version.id not in standing}
    missing = [target for target in wish.targets if by_name[named_by(target)].id in standing]
    if missing:
        raise InvalidRequest(f"The policy cannot be used: {named_by(missing[0])} is a target and a step around it; it can be one of both.")
    signatures = {name: version.signature for name, version in (steps | targets).items()}
    if any(signature == TEXT_SIGNATURE for signature in signatures.values()):
        raise InvalidRequest("The policy cannot be used: before, after: nothing can stand around a model that generates text, or be one.")
    return [
        msgspec.structs.replace(version, signature=plan(policy.around(name), signatures.__getitem__)) for name, version in targets.items()
    ]


def _check_alike(first: Version, other: Version, kind: str, wanted: Sequence[TensorSpec], got: Sequence[TensorSpec]) -> None:
    """A caller does not choose the target, so every target must be callable alike; sizes of outputs may differ."""
    theirs = {spec.name: spec for spec in got}
    for spec in wanted:
        match = theirs.pop(spec.name, None)
        if match is None:
            raise InvalidRequest(_unlike(first, other, f"{first.reference} has the {kind} {spec.name!r}, which {other.reference} has not"))
        same = match.datatype == spec.datatype and (kind == "output" or match.wire_shape == spec.wire_shape)
        if not same:
            detail = f"{spec.datatype} {spec.wire_shape} and {match.datatype} {match.wire_shape}"
            raise InvalidRequest(_unlike(first, other, f"{kind} {spec.name!r} is {detail}"))
    for name in theirs:
        raise InvalidRequest(_unlike(first, other, f"{other.reference} has the {kind} {name!r}, which {first.reference} has not"))


def _unlike(first: Version, other: Version, why: str) -> str:
    return f"{first.reference} and {other.reference} cannot share a deployment, because callers could not tell them apart: {why}."


def _write(
    session: Session, actor: Actor, wish: Deployment, current: Deployment | None, expect_revision: int | None, *, accepted: list[str]
) -> Deployment:
    told = {"accepted_flagged": accepted} if accepted else {}
    if current is None:
        if expect_revision is not None:
            raise Conflict(f"There is no deployment {wish.name!r} any more; leave the revision out to create it.")
        made = session.deployments.add(wish)
        session.audit.append(actor, "deployment.create", wish.name, after=_told(made) | told)
        return made
    expected = current.revision if expect_revision is None else expect_revision
    if current.targets == wish.targets and current.policy == wish.policy and expected == current.revision:
        return current
    made = session.deployments.update(msgspec.structs.replace(current, targets=wish.targets, policy=wish.policy), expected)
    session.audit.append(actor, "deployment.update", wish.name, before=_told(current), after=_told(made) | told)
    return made


def _told(deployment: Deployment) -> dict[str, Any]:
    return {"targets": msgspec.to_builtins(deployment.targets), "policy": deployment.policy, "revision": deployment.revision}


def need(session: Session, workspace_id: int, name: str) -> Deployment:
    """The deployment of this name. Raises NotFound, naming the nearest."""
    found = session.deployments.get(workspace_id, name)
    if found is None:
        known = [deployment.name for deployment in session.deployments.list(workspace_id)]
        raise NotFound(f"There is no deployment {name!r}.{did_you_mean(name, known)}")
    return found


def _resolved(session: Session, deployment: Deployment) -> tuple[list[Version], list[str]]:
    versions: list[Version] = []
    gone: list[str] = []
    for target in needed(deployment):
        try:
            versions.append(find_version(session, deployment.workspace_id, _reference(target)))
        except NotFound as error:
            gone.append(error.message)
    return versions, gone


def _status(session: Session, deployment: Deployment, reports: Sequence[WorkerReport]) -> DeploymentStatus:
    versions, gone = _resolved(session, deployment)
    return merge(deployment, versions, gone, reports)


def _view(session: Session, deployment: Deployment, reports: Sequence[WorkerReport]) -> DeploymentView:
    status = _status(session, deployment, reports)
    return DeploymentView(
        name=deployment.name,
        targets=deployment.targets,
        state=status.state,
        reason=status.reason,
        versions=tuple(version.number for version in status.versions),
        policy=deployment.policy,
        revision=deployment.revision,
        created_ns=deployment.created_ns,
        updated_ns=deployment.updated_ns,
    )
