"""Who may do what: actions, keys and the grant that a key resolves to."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """A right, needed by every route but health."""

    INFER = "infer"  # call deployments and read their metadata
    READ = "read"  # see models, versions, jobs, deployments
    DEVELOP = "develop"  # push, train, promote
    DEPLOY = "deploy"  # change deployments
    KEYS = "keys"  # issue and revoke keys
    ADMIN = "admin"  # backup, garbage collection, settings of the platform


ALL_ACTIONS = frozenset(Action)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as stored: never the secret, only its SHA-256 (hex)."""

    id: int
    workspace_id: int
    public_id: str
    """What people see and name in ``keys revoke``; also the middle part of the secret."""
    digest: str
    label: str = ""
    actions: tuple[Action, ...] = (Action.INFER,)
    deployments: tuple[str, ...] = ()
    """Names it may call; empty for every deployment of its workspace."""
    created_by: str = ""
    created_ns: int = 0
    expires_ns: int = 0
    """0 for never."""
    revoked_ns: int = 0


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid key allows; the unit that the snapshot holds, looked up by the key's digest."""

    workspace_id: int
    key_id: int
    public_id: str
    actions: frozenset[Action]
    deployments: frozenset[str]
    """Empty for all of the workspace."""
    expires_ns: int = 0

    def allows(self, action: Action, deployment: str | None = None) -> bool:
        """Whether ``action`` (on ``deployment``, where one is meant) is among its rights. Expiry is not looked at."""
        return action in self.actions and (deployment is None or not self.deployments or deployment in self.deployments)
