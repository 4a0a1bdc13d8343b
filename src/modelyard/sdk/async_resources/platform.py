"""The platform as a whole: who is asking, status, audit, usage, declared state, backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

from modelyard.core.api import Applied, Sealed, Whoami
from modelyard.core.events import AuditEvent, AuditReport
from modelyard.core.invoices import Invoice
from modelyard.core.machine import Resources
from modelyard.core.usage import Trace, UsageRow, UsageStep
from modelyard.sdk.async_transport import AsyncTransport, OnBytes

LONG = 3600.0
"""Seconds that one answer may take to begin where the server copies everything it has."""


class AsyncPlatform:
    """What concerns no single resource."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def whoami(self) -> Whoami:
        return await self._transport.fetch(Whoami, "GET", "/api/v1/whoami")

    async def seal(self, url: str, secret: str) -> Sealed:
        """A key of the upstream endpoint at ``url``, sealed for ``remote.json``: only the platform opens it, and only for that host."""
        return await self._transport.fetch(Sealed, "POST", "/api/v1/seal", json={"url": url, "secret": secret})

    async def status(self) -> dict[str, Any]:
        """Processes, deployments, jobs and sizes."""
        return await self._transport.fetch(dict[str, Any], "GET", "/api/v1/status")

    async def resources(self) -> Resources:
        """What the machine and each process of the platform use; ask twice for rates."""
        return await self._transport.fetch(Resources, "GET", "/api/v1/resources")

    async def audit(self, *, limit: int = 100, before: int = 0) -> list[AuditEvent]:
        """Changes, newest first."""
        return await self._transport.fetch(list[AuditEvent], "GET", "/api/v1/audit", params={"limit": limit, "before": before or None})

    async def verify_audit(self, *, trust: Sequence[str] = ()) -> AuditReport:
        """Whether the audit log is whole; ``trust`` names public keys (hex) that signed it besides the platform's own."""
        return await self._transport.fetch(AuditReport, "GET", "/api/v1/audit/verify", params={"trust": list(trust) or None})

    async def export_audit(self, to: BinaryIO) -> int:
        """Writes the whole audit log with its signed heads to ``to`` as JSON lines; its size in bytes."""
        return await self._transport.download("/api/v1/audit/export", to, timeout=LONG)

    async def audit_key(self) -> str:
        """The public key (Ed25519, hex) that signs the audit log's heads."""
        return (await self._transport.fetch(dict[str, str], "GET", "/api/v1/audit/key"))["public_key"]

    async def usage(
        self,
        *,
        by: Sequence[str] = ("deployment",),
        since: str = "",
        until: str = "",
        step: UsageStep | str = UsageStep.ALL,
        deployment: str = "",
        key: str = "",
        shared: bool = False,
    ) -> list[UsageRow]:
        """What calls used, split by any of ``USAGE_GROUPS``; ``since`` and ``until`` are ISO times or how long ago (``7d``).

        ``shared`` is for what other workspaces called of this one's deployments.
        """
        params = {**usage_query(by, since, until, step), "deployment": deployment, "key_id": key, "shared": shared}
        return await self._transport.fetch(list[UsageRow], "GET", "/api/v1/usage", params=params)

    async def export_usage(
        self,
        to: BinaryIO,
        *,
        format: str = "csv",  # noqa: A002 - the name of the parameter in the API
        by: Sequence[str] = ("deployment",),
        since: str = "",
        until: str = "",
        step: UsageStep | str = UsageStep.ALL,
        **only: Any,
    ) -> int:
        """Writes the same to a file as ``csv``, ``jsonl`` or ``parquet``; its size in bytes. ``only`` are ``deployment``, ``key`` and
        ``shared``, as for ``usage``.
        """
        named = {"key_id" if name == "key" else name: value for name, value in only.items()}
        params = {**usage_query(by, since, until, step), **named, "format": format}
        return await self._transport.download("/api/v1/usage/export", to, params=params, timeout=LONG)

    async def invoice(self, month: str) -> Invoice:
        """What the workspace owes for a month like ``2026-11``; up to now, while it is not over."""
        return await self._transport.fetch(Invoice, "GET", f"/api/v1/invoices/{quote(month, safe='')}")

    async def export_invoice(
        self,
        to: BinaryIO,
        month: str,
        *,
        format: str = "html",  # noqa: A002 - the name of the parameter in the API
    ) -> int:
        """Writes the same as a file, ``html`` to print or ``csv``; its size in bytes."""
        return await self._transport.download(f"/api/v1/invoices/{quote(month, safe='')}", to, params={"format": format})

    async def trace(self, request_id: str) -> Trace:
        """One call, by the ``x-modelyard-request-id`` of its answer (``x-request-id`` where the call sent none)."""
        return await self._transport.fetch(Trace, "GET", f"/api/v1/trace/{quote(request_id, safe='')}")

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


def usage_query(by: Sequence[str], since: str, until: str, step: UsageStep | str) -> dict[str, Any]:
    """What every question about usage says."""
    return {"by": ",".join([by] if isinstance(by, str) else by) or ",", "since": since, "until": until, "step": str(step)}
