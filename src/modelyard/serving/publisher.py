"""From rows to the snapshot that workers act on: aliases resolved, shares settled, valid keys only."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import NamedTuple

import msgspec

from modelyard.core.access import Action, Key
from modelyard.core.bindings import Binding, digest_of
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.deployments import Deployment, ReplicaPolicy, Route, ServedDeployment, ServedVersion, Target
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.limits import Limit, Measure, Scope, ServedLimit, Window
from modelyard.core.models import Model, Version
from modelyard.core.policy import EMPTY, Policy, target_of
from modelyard.core.principals import Rights
from modelyard.core.shares import ServedShare, Share, share_subject
from modelyard.identity.keys import within_rights
from modelyard.registry.resolve import resolve_number
from modelyard.serving.delegation import Delegation
from modelyard.store.database import Session, Store
from modelyard.store.principals import RIGHTS
from modelyard.store.settings import STATE
from modelyard.store.snapshot import SnapshotState, SnapshotWriter

logger = logging.getLogger(__name__)
_PUBLIC_LIMITS = 1 << 48
"""Ids of limits that stand in no table begin here."""


class Published(NamedTuple):
    """What the newest snapshot holds: the ``state`` counter it was made from, and its own number."""

    counter: int
    number: int


class SnapshotPublisher:
    """Publishes the state of every workspace whenever it has changed. The controller has the only one, used by one thread."""

    def __init__(self, store: Store, writer: SnapshotWriter, clock: Clock | None = None, delegation: Delegation | None = None) -> None:
        self._store, self._writer, self._clock = store, writer, clock or SystemClock()
        self._delegation = delegation
        self.latest = Published(-1, 0)
        """Replaced as a whole, so other threads may read it."""
        self._stored: dict[int, Key] = {}
        self._keys: dict[int, tuple[Key, ...]] = {}
        """As they are published: within the rights of their principals, each with the secret before and its twin."""
        self._expiring: list[tuple[int, int]] = []
        """Heap of (when, id) of keys that expire."""
        self._seen = 0
        """What the clock said last."""
        self._rights = (-1, Rights((), ()))

    def publish_if_changed(self) -> int | None:
        """The number of a new snapshot, or None when nothing has changed since the last one. Always publishes the first time.

        Raises Unavailable when the database or the folder does not answer; the next call tries again.
        """
        with self._store.read() as session:
            counter = session.settings.count(STATE)
            if counter == self.latest.counter:
                return None
            keys = self._valid_keys(session)
            state = build_state(session, (*keys, *certified(session.certificates.all(), keys)))
        number = self._writer.publish(state)
        self.latest = Published(counter, number)
        return number

    def _valid_keys(self, session: Session) -> tuple[Key, ...]:
        """Valid keys as workers shall know them. Only those are read and worked out that have changed since the last time: with very many
        keys, whatever looks at each of them is most of what a revocation waits for.
        """
        now = self._clock.time_ns()
        if now < self._seen:  # the clock was set back: what had expired may be valid again
            self._stored, self._keys, self._expiring = {}, {}, []
        self._seen = now
        read = session.keys.changed_since(self.latest.counter) if self._stored else session.keys.active(now)
        changed = {key.id for key in read}
        for key in read:
            self._stored[key.id] = key
            if key.expires_ns:
                heappush(self._expiring, (key.expires_ns, key.id))
        ended = {key.id for key in read if key.revoked_ns}
        while self._expiring and self._expiring[0][0] <= now:
            ended.add(heappop(self._expiring)[1])
        for identity in ended:
            stored = self._stored.get(identity)
            if stored is not None and (stored.revoked_ns or 0 < stored.expires_ns <= now):  # a rotation may have moved its end
                del self._stored[identity]
                self._keys.pop(identity, None)
        concerned = changed | self._concerned(session)
        rights = self._rights[1]
        for identity in sorted(concerned):
            stored = self._stored.get(identity)
            if stored is not None:
                may = rights.of(stored.workspace_id, stored.principal_id)
                self._keys[identity] = published_keys(stored, may, now, self._delegation)
        return tuple(chain.from_iterable(self._keys.values()))

    def _concerned(self, session: Session) -> set[int]:
        """Keys whose principals may do something else than the last time."""
        counter, before = session.settings.count(RIGHTS), self._rights[1]
        if counter == self._rights[0]:
            return set()
        rights = session.memberships.rights()
        self._rights = (counter, rights)
        return {
            key.id
            for key in self._stored.values()
            if rights.of(key.workspace_id, key.principal_id) != before.of(key.workspace_id, key.principal_id)
        }


def published_keys(key: Key, may: frozenset[Action], now_ns: int, delegation: Delegation | None = None) -> tuple[Key, ...]:
    """What workers are told of a key whose principal may do ``may``: nothing when that leaves it no right."""
    bounded = within_rights(key, may)
    if bounded is None:
        return ()
    found = [bounded]
    if key.previous_digest and now_ns < key.previous_until_ns:
        ends = min(key.previous_until_ns, key.expires_ns or key.previous_until_ns)
        found.append(msgspec.structs.replace(bounded, digest=key.previous_digest, expires_ns=ends))
    twin = delegation.twin(bounded) if delegation is not None else None
    return (*found, twin) if twin is not None else tuple(found)


def certified(bindings: Iterable[Binding], keys: Iterable[Key]) -> Iterator[Key]:
    """Keys once more, under the digests of the client certificates that stand for them."""
    bindings = list(bindings)
    if bindings:
        known = {key.id: key for key in reversed(tuple(keys))}  # a key stands before its twin
        for binding in bindings:
            if binding.key_id in known:
                yield msgspec.structs.replace(known[binding.key_id], digest=digest_of(binding.certificate).hex())


def build_state(session: Session, keys: tuple[Key, ...]) -> SnapshotState:
    """Everything that workers need, as one transaction sees it; ``keys`` are the valid ones.

    A target whose alias, version or model is gone gets no route; a deployment that has lost all of them stays, without routes, so
    that its callers hear that it cannot serve and not that it does not exist.
    """
    resolver = _Resolver(session)
    limits = session.limits.all()
    members = {
        (limit.workspace_id, limit.subject): found.id
        for limit in limits
        if limit.scope is Scope.PRINCIPAL and (found := session.principals.find(limit.workspace_id, limit.subject)) is not None
    }
    deployments = tuple(resolver.served(deployment) for deployment in session.deployments.all())
    shares = session.shares.all()
    workspaces = {workspace.id: workspace.name for workspace in session.workspaces.list()}
    return SnapshotState(
        workspaces=workspaces,
        deployments=deployments,
        versions=tuple(resolver.versions[identity] for identity in sorted(resolver.versions)),
        keys=keys,
        limits=tuple(served_limits(limits, deployments, keys, members, shares, workspaces=workspaces)),
        prices=tuple(session.prices.all()),
        shares=tuple(
            ServedShare(id=share.id, borrower_id=share.borrower_id, name=share.name, deployment_id=share.deployment_id) for share in shares
        ),
    )


def served_limits(
    limits: Iterable[Limit],
    deployments: Iterable[ServedDeployment],
    keys: Iterable[Key],
    members: Mapping[tuple[int, str], int],
    shares: Sequence[Share] = (),
    *,
    workspaces: Mapping[int, str] | None = None,
) -> Iterator[ServedLimit]:
    """Limits with the ids of what they are for; those of keys, principals, deployments and shares that are not there limit nobody and
    are left out. ``members`` are ids of principals by workspace and name, ``workspaces`` are names by id.
    """
    limits, deployments = list(limits), tuple(deployments)
    yield from public_limits(deployments)
    if not limits:
        return
    ids = {(Scope.DEPLOYMENT, deployment.workspace_id, deployment.name): deployment.id for deployment in deployments}
    ids |= {(Scope.DEPLOYMENT, share.borrower_id, share.name): share.deployment_id for share in shares}
    capped = {
        (share.workspace_id, share_subject(share.deployment, (workspaces or {}).get(share.borrower_id, ""))): share for share in shares
    }
    ids |= {(Scope.SHARE, *owned): share.deployment_id for owned, share in capped.items()}
    ids |= {(Scope.PRINCIPAL, workspace_id, name): identity for (workspace_id, name), identity in members.items()}
    named = {limit.subject for limit in limits if limit.scope is Scope.KEY}
    ids |= {(Scope.KEY, key.workspace_id, key.public_id): key.id for key in keys if key.public_id in named} if named else {}
    for limit in limits:
        fixed = {Scope.PLATFORM: 0, Scope.WORKSPACE: limit.workspace_id}.get(limit.scope)
        subject_id = fixed if fixed is not None else ids.get((limit.scope, limit.workspace_id, limit.subject))
        if subject_id is not None:
            held = capped[limit.workspace_id, limit.subject].borrower_id if limit.scope is Scope.SHARE else limit.workspace_id
            yield ServedLimit(
                id=limit.id,
                revision=limit.revision,
                scope=limit.scope,
                subject_id=subject_id,
                subject=limit.subject,
                workspace_id=held,
                measure=limit.measure,
                window=limit.window,
                amount=limit.amount,
                currency=limit.currency,
            )


def references_of(deployment: Deployment) -> tuple[str, ...]:
    """Versions that a deployment's policy names."""
    return stored_policy(deployment).references


def stored_policy(deployment: Deployment) -> Policy:
    """A deployment's policy; one that asks for nothing where it was stored before policies were checked and cannot be read."""
    if not deployment.policy:
        return EMPTY
    try:
        return Policy.of(deployment.policy)
    except InvalidRequest as error:
        logger.warning("Deployment %s is served without its policy: %s", deployment.name, error.message)
        return EMPTY


def public_limits(deployments: Iterable[ServedDeployment]) -> Iterator[ServedLimit]:
    """Limits of callers without a key, as policies of public deployments have them. Their subject is the negative of the deployment."""
    for deployment in deployments:
        public = Policy.of(deployment.policy).public if "public" in deployment.policy else None
        if public is None:
            continue
        asked = (
            (Measure.REQUESTS, Window.SECOND, public.requests_per_second),
            (Measure.REQUESTS, Window.MINUTE, public.requests_per_minute),
            (Measure.CONCURRENT, Window.NONE, public.concurrent),
        )
        for place, (measure, window, amount) in enumerate(asked):
            if amount:
                yield ServedLimit(
                    id=_PUBLIC_LIMITS + deployment.id * 4 + place,
                    revision=deployment.revision,
                    scope=Scope.KEY,
                    subject_id=-deployment.id,
                    subject="public",
                    measure=measure,
                    window=window,
                    amount=amount,
                )


class _Resolver:
    """Finds each model and version once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._models: dict[tuple[int, str], Model | None] = {}
        self._found: dict[tuple[int, int], Version | None] = {}
        self.versions: dict[int, ServedVersion] = {}

    def served(self, deployment: Deployment) -> ServedDeployment:
        shares: dict[int, int] = {}
        for target in deployment.targets:
            version = self._version(deployment, target)
            if version is not None:
                shares[version.id] = shares.get(version.id, 0) + target.weight
        references = self._references(deployment)
        for version_id in references.values():
            shares.setdefault(version_id, 0)
        self._place(stored_policy(deployment), shares)
        return ServedDeployment(
            id=deployment.id,
            workspace_id=deployment.workspace_id,
            name=deployment.name,
            revision=deployment.revision,
            routes=tuple(Route(version_id=identity, weight=weight) for identity, weight in shares.items()),
            policy=deployment.policy,
            references=references,
        )

    def _place(self, policy: Policy, version_ids: Iterable[int]) -> None:
        """Sends versions to replica processes where they cannot run in workers or the deployment wants that."""
        for version_id in version_ids:
            served = self.versions[version_id]
            wish = policy.own_processes
            if wish is None and not served.profile.inline:
                wish = ReplicaPolicy()
            if wish is not None:
                joined = wish if served.replicas is None else served.replicas.joined(wish)
                self.versions[version_id] = msgspec.structs.replace(served, replicas=joined)

    def _references(self, deployment: Deployment) -> dict[str, int]:
        found: dict[str, int] = {}
        for written in references_of(deployment):
            version = self._version(deployment, target_of(written))
            if version is not None:
                found[written] = version.id
        return found

    def _version(self, deployment: Deployment, target: Target) -> Version | None:
        model = self._model(deployment.workspace_id, target.model)
        try:
            number = resolve_number(model, target.version) if model is not None else 0
        except NotFound:
            number = 0
        version = self._numbered(model, number) if model is not None and number else None
        if model is None or version is None:
            logger.warning("Deployment %s cannot route to %s@%s: it is gone", deployment.name, target.model, target.version)
            return None
        if version.id not in self.versions:
            self.versions[version.id] = served_version(model, version)
        return version

    def _model(self, workspace_id: int, name: str) -> Model | None:
        key = (workspace_id, name)
        if key not in self._models:
            self._models[key] = self._session.models.get(workspace_id, name)
        return self._models[key]

    def _numbered(self, model: Model, number: int) -> Version | None:
        key = (model.id, number)
        if key not in self._found:
            self._found[key] = self._session.versions.get(model.workspace_id, model.name, number)
        return self._found[key]


def served_version(model: Model, version: Version) -> ServedVersion:
    """A version as workers need it."""
    return ServedVersion(
        id=version.id,
        workspace_id=version.workspace_id,
        model=version.model,
        number=version.number,
        artifact=version.artifact,
        signature=version.signature,
        profile=version.profile,
        aliases=tuple(sorted(alias for alias, number in model.aliases.items() if number == version.number)),
        metadata={
            "metrics": version.metrics,
            "tags": version.tags,
            "card": msgspec.to_builtins(version.card),
            "created_ns": version.created_ns,
        },
    )
