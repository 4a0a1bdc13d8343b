"""What the audit log keeps of a management change."""

from __future__ import annotations

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
