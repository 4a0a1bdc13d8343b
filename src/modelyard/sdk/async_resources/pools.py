"""What the jobs of workspaces may hold."""

from __future__ import annotations

from typing import Any

from modelyard.core.api import PoolView
from modelyard.sdk.async_transport import AsyncTransport


class AsyncPools:
    """Shares of the machine."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[PoolView]:
        """The workspace's own pool; every workspace's for administrators."""
        return await self._transport.fetch(list[PoolView], "GET", "/api/v1/pools")

    async def set(self, workspace: str, **amounts: Any) -> PoolView:
        """Bounds ``cores``, ``memory_bytes``, ``gpus`` and ``jobs`` (0 lifts a bound), and sets the ``share``; for administrators."""
        return await self._transport.fetch(PoolView, "PUT", f"/api/v1/pools/{workspace}", json=amounts)
