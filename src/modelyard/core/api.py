"""Answers of the management API that are not core data already: the server encodes them, the SDK decodes them.

Everything else the API answers with (models, versions, jobs, datasets, audit events) are the structs of core themselves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from modelyard.core.access import Action, Role
from modelyard.core.deployments import DeploymentState, Target
from modelyard.core.limits import Limit


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the caller's key makes it, and where it may call models."""

    key_id: str
    workspace: str
    actions: tuple[Action, ...]
    deployments: tuple[str, ...]
    """Names it may call; empty for every deployment of its workspace."""
    expires_ns: int
    inference_url: str
    server_version: str
    limits: tuple[Limit, ...] = ()
    """What binds the key's calls: its own limits, those of deployments it may call, of its workspace and of the platform."""


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who the caller is in a workspace, and what it may call there."""

    name: str
    kind: str
    """``person`` or ``service``."""
    admin: bool = False
    """Whether it administers the platform."""
    workspace: str
    roles: tuple[Role, ...] = ()
    actions: tuple[Action, ...] = ()
    """What it may do with the key or session of this call."""
    deployments: tuple[str, ...] = ()
    """Names that this key may call."""
    limits: tuple[Limit, ...] = ()
    """What binds the key's calls."""
    inference_url: str = ""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are stored, named by their SHA-256 (hex)."""

    digest: str
    size: int


class UploadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a file that is sent in pieces has arrived."""

    digest: str
    received: int
    done: bool = False
    """Whether it is stored and may be named by its digest."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as people see it: never its secret, nor the secret's digest."""

    id: str
    label: str = ""
    actions: tuple[Action, ...] = ()
    deployments: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    """Where it may be used from; empty for everywhere."""
    principal: str = ""
    """The person or service whose key it is. It never may do more than that does."""
    created_by: str = ""
    created_ns: int = 0
    expires_ns: int = 0
    """0 for never."""
    revoked_ns: int = 0
    """0 while it is not revoked."""
    rotated_ns: int = 0
    previous_until_ns: int = 0
    """Until when the secret before the last rotation works."""
    used_ns: int = 0
    """Beginning of the last minute in which it was used, as far as the ledger knows; 0 for never."""


class IssuedKey(KeyView, frozen=True, kw_only=True):
    """A new key with its secret, which is shown this once."""

    key: str


class BindingView(msgspec.Struct, frozen=True, kw_only=True):
    """A client certificate that stands for a key."""

    key: str
    certificate: str
    """``sha256:…`` or ``subject:…``."""
    created_by: str = ""
    created_ns: int = 0


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment: what was wished for, and how far reality has come."""

    name: str
    targets: tuple[Target, ...]
    state: DeploymentState
    reason: str = ""
    """Why it is not ready, where it is not."""
    versions: tuple[int, ...] = ()
    """Numbers of the versions it routes to now, in the order of its targets."""
    url: str = ""
    """Where it is called."""
    policy: dict[str, Any] = {}
    revision: int = 1
    created_ns: int = 0
    updated_ns: int = 0


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a job's log; ask for the next from ``next_offset``."""

    text: str
    next_offset: int


class ChangeKind(StrEnum):
    """What applying a document does to one thing."""

    CREATE = "create"  # it does not exist yet
    UPDATE = "update"  # it exists and differs
    UNCHANGED = "unchanged"  # it is as the document says
    DELETE = "delete"  # it exists, the document does not name it, and pruning was asked for


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plan."""

    change: ChangeKind
    kind: str
    """``version``, ``model``, ``alias``, ``deployment`` or ``key``."""
    name: str
    detail: str = ""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the secrets of the keys it created; empty when it was only planned."""

    changes: tuple[Change, ...]
    keys: tuple[IssuedKey, ...] = ()


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``code`` is stable and meant for programs, ``message`` for people."""

    code: str
    message: str
    retry_after: float | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What every refused management call answers."""

    error: ErrorDetail


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace's jobs may hold at the same time, and what they do; 0 means no bound but the platform's."""

    workspace: str
    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    jobs: int = 0
    share: float = 1.0
    """Its weight beside other workspaces under the policy ``fair``."""
    running: int = 0
    waiting: int = 0
    platform_cores: float = 0.0
    """What all jobs of the platform together may hold."""
    platform_memory_bytes: int = 0
    platform_gpus: int = 0


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that only the platform can open."""

    sealed: str
    origin: str
    """The host that it may be sent to."""
