"""Who may do what: actions, roles, keys and the grant that a key resolves to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec


class Action(StrEnum):
    """A right, needed by every route but health. New ones are added at the end: a snapshot knows an action by its place."""

    INFER = "infer"  # call deployments and read their metadata
    READ = "read"  # see models, versions, jobs, deployments, usage
    DEVELOP = "develop"  # push, train, promote
    DEPLOY = "deploy"  # change deployments
    KEYS = "keys"  # issue and revoke keys
    ADMIN = "admin"  # the platform: backup, garbage collection, workspaces, people
    TRUST = "trust"  # push and train what can run code of its own
    AUDIT = "audit"  # see usage, limits, prices and the audit log
    MANAGE = "manage"  # the workspace: members, limits, prices, what is shared
    SELF = "self"  # make, rotate and revoke one's own keys
    METRICS = "metrics"  # see figures of all processes, which name deployments of every workspace


ALL_ACTIONS = frozenset(Action)


class Role(StrEnum):
    """What a principal is in a workspace."""

    OWNER = "owner"
    DEVELOPER = "developer"
    CONSUMER = "consumer"
    AUDITOR = "auditor"


_DEVELOPER = frozenset({Action.INFER, Action.READ, Action.DEVELOP, Action.DEPLOY, Action.SELF})
ROLE_ACTIONS: Mapping[Role, frozenset[Action]] = {
    Role.OWNER: _DEVELOPER | {Action.KEYS, Action.AUDIT, Action.MANAGE},
    Role.DEVELOPER: _DEVELOPER,
    Role.CONSUMER: frozenset({Action.INFER, Action.SELF}),
    Role.AUDITOR: frozenset({Action.AUDIT, Action.SELF}),
}
"""The one table of what roles may do. ``trust`` is in none of them: it is given by name, to an owner or developer; ``admin`` and
``metrics`` are of the platform."""


def actions_of(roles: Iterable[Role], *, trust: bool = False) -> frozenset[Action]:
    """What somebody with these roles in a workspace may do there.

    Trust without a role that develops gives nothing: it says how far its holder may go in developing.
    """
    found = frozenset[Action]().union(*(ROLE_ACTIONS[role] for role in roles))
    return found | {Action.TRUST} if trust and Action.DEVELOP in found else found


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a client showed in its TLS handshake, verified against the listener's certificate authority."""

    fingerprint: str
    """SHA-256 of the certificate, in hex."""
    subject: str
    """As RFC 4514 writes it: ``CN=pump-7,O=Example``."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as stored: never the secret, only its SHA-256 (hex)."""

    id: int
    workspace_id: int
    principal_id: int = 0
    """Whose it is. It never holds more than its principal does in the workspace."""
    public_id: str
    """What people see and name in ``keys revoke``; also the middle part of the secret."""
    digest: str
    previous_digest: str | None = None
    """That of the secret before the last rotation, while that is still valid."""
    previous_until_ns: int = 0
    label: str = ""
    actions: tuple[Action, ...] = (Action.INFER,)
    deployments: tuple[str, ...] = ()
    """Names it may call; empty for every deployment of its workspace."""
    networks: tuple[str, ...] = ()
    """Where it may be used from, like ``10.0.0.0/8``; empty for everywhere."""
    created_by: str = ""
    created_ns: int = 0
    expires_ns: int = 0
    """0 for never."""
    revoked_ns: int = 0
    rotated_ns: int = 0
    used_ns: int = 0
    """Beginning of the last minute in which it was used, as far as the ledger knows."""
    revision: int = 1
    """Grows with each change, so that whoever knows the key notices."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid key allows; the unit that the snapshot holds, looked up by the key's digest."""

    workspace_id: int
    key_id: int
    public_id: str
    actions: frozenset[Action]
    deployments: frozenset[str]
    """Empty for all of the workspace."""
    expires_ns: int = 0
    principal_id: int = 0
    """Whose key it is; 0 for nobody's."""
    networks: tuple[str, ...] = ()
    """Where it may be used from; empty for everywhere."""

    def allows(self, action: Action, deployment: str | None = None) -> bool:
        """Whether ``action`` (on ``deployment``, where one is meant) is among its rights. Expiry is not looked at."""
        return action in self.actions and (deployment is None or self.covers(deployment))

    def covers(self, deployment: str) -> bool:
        """Whether it is for every deployment, or for this one too."""
        return not self.deployments or deployment in self.deployments
