"""The platform as a whole: who is asking, status, audit, usage, declared state, backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from modelyard.core.api import Applied, Whoami
from modelyard.core.events import AuditEvent
from modelyard.sdk.async_transport import AsyncTransport, OnBytes

LONG = 3600.0
"""Seconds that one answer may take to begin where the server copies everything it has."""


class AsyncPlatform:
    """What concerns no single resource."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def whoami(self) -> Whoami:
        return await self._transport.fetch(Whoami, "GET", "/api/v1/whoami")

    async def status(self) -> dict[str, Any]:
        """Processes, deployments, jobs and sizes."""
        return await self._transport.fetch(dict[str, Any], "GET", "/api/v1/status")

    async def audit(self, *, limit: int = 100, before: int = 0) -> list[AuditEvent]:
        """Changes, newest first."""
        return await self._transport.fetch(list[AuditEvent], "GET", "/api/v1/audit", params={"limit": limit, "before": before or None})

    async def usage(self, *, since: str = "", until: str = "", by: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What calls used; ``since`` and ``until`` are ISO 8601 times, ``by`` what to split the sums by (``minute``, ``key_id``, …)."""
        params = {"since": since, "until": until, "by": list(by) or None}
        return await self._transport.fetch(list[dict[str, Any]], "GET", "/api/v1/usage", params=params)

    async def plan(self, document: Mapping[str, Any], *, prune: bool = False) -> Applied:
        """What ``apply`` would change."""
        return await self._transport.fetch(Applied, "POST", "/api/v1/plan", json={"document": document, "prune": prune})

    async def apply(self, document: Mapping[str, Any], *, prune: bool = False) -> Applied:
        """Makes the platform what a document says; doing it again changes nothing."""
        return await self._transport.fetch(Applied, "POST", "/api/v1/apply", json={"document": document, "prune": prune})

    async def backup(self, to: BinaryIO, *, on_bytes: OnBytes | None = None) -> int:
        """Writes an archive of everything the platform keeps to ``to``; its size in bytes."""
        return await self._transport.download("/api/v1/backup", to, method="POST", timeout=LONG, on_bytes=on_bytes)

    async def collect_garbage(self, *, min_age_seconds: float = 3600.0) -> dict[str, Any]:
        """Deletes stored bytes that nothing refers to and that are older than ``min_age_seconds``."""
        return await self._transport.fetch(dict[str, Any], "POST", "/api/v1/gc", json={"min_age_seconds": min_age_seconds})

    async def recipe_schema(self) -> dict[str, Any]:
        """The JSON Schema of a training recipe."""
        return await self._transport.fetch(dict[str, Any], "GET", "/api/v1/schemas/recipe")
