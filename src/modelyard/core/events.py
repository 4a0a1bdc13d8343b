"""What the audit log keeps of a management change."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts: the name in audit rows, where from, and in which request."""

    name: str
    workspace_id: int
    address: str = ""
    request_id: str = ""


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change. ``hash`` is the SHA-256 over this row and the hash of the row before it in the workspace."""

    id: int
    workspace_id: int
    time_ns: int
    actor: str
    address: str
    request_id: str
    action: str
    """A verb on a kind: ``version.create``, ``alias.set``, ``key.revoke``, …"""
    subject: str
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    previous_hash: str = ""
    hash: str = ""


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a workspace's audit log at one time, signed, so that what is cut off or rewritten later shows."""

    id: int
    workspace_id: int
    event_id: int
    """The newest row then."""
    events: int
    """How many rows there were."""
    hash: str
    """That of the newest row."""
    time_ns: int
    signer: str
    """The Ed25519 public key (hex)."""
    signature: str


class AuditFault(StrEnum):
    """What is wrong with a row of the audit log."""

    CHANGED = "changed"  # its content is not what its hash, or the signed one, says
    REMOVED = "removed"  # rows that stood before it, or at the end, are gone
    REORDERED = "reordered"  # it does not stand where it was written
    FORGED = "forged"  # a head whose signature is wrong, or of a key that nobody trusts


class AuditFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, and at which row it shows."""

    fault: AuditFault
    event_id: int
    text: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of checking a workspace's audit log."""

    events: int
    heads: int
    findings: tuple[AuditFinding, ...] = ()
    """Empty when the log is whole."""
    head: AuditHead | None = None
    """The newest signed state; keep it elsewhere, and a later check can be held against it."""
    signer: str = ""
    """The platform's own public key (hex)."""
