"""Deployments that other workspaces may call."""

from __future__ import annotations

from modelyard.core.shares import ShareView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted


class AsyncShares:
    """What is shared with other workspaces, and by them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def share(self, deployment: str, workspace: str) -> ShareView:
        """Lets another workspace's keys call a deployment by the ``name`` that is given back; doing it again changes nothing."""
        return await self._transport.fetch(ShareView, "PUT", f"/api/v1/shares/{quoted(deployment)}/{quoted(workspace)}")

    async def unshare(self, deployment: str, workspace: str) -> None:
        """Ends that; their calls are refused within a second."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/shares/{quoted(deployment)}/{quoted(workspace)}")

    async def list(self) -> list[ShareView]:
        """Shares of this workspace's deployments, and what is shared with it."""
        return await self._transport.fetch(list[ShareView], "GET", "/api/v1/shares")
