"""Workspaces, and who is what in them."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.core.access import Role
from modelyard.core.principals import Member, WorkspaceView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted


class AsyncWorkspaces:
    """Workspaces that the caller may see."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[WorkspaceView]:
        return await self._transport.fetch(list[WorkspaceView], "GET", "/api/v1/workspaces")

    async def create(self, name: str) -> WorkspaceView:
        """A new, empty workspace."""
        return await self._transport.fetch(WorkspaceView, "POST", "/api/v1/workspaces", json={"name": name})

    async def rename(self, name: str, new_name: str, *, revision: int | None = None) -> WorkspaceView:
        body = {"name": new_name, "revision": revision}
        return await self._transport.fetch(WorkspaceView, "PATCH", f"/api/v1/workspaces/{quoted(name)}", json=body)

    async def remove(self, name: str) -> None:
        """Ends an empty workspace with its keys and memberships."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/workspaces/{quoted(name)}")


class AsyncMembers:
    """Members of the caller's workspace."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[Member]:
        return await self._transport.fetch(list[Member], "GET", "/api/v1/members")

    async def get(self, name: str) -> Member:
        return await self._transport.fetch(Member, "GET", f"/api/v1/members/{quoted(name)}")

    async def put(
        self, name: str, roles: Sequence[Role | str], *, trust: bool | None = None, service: bool = False, revision: int | None = None
    ) -> Member:
        """Makes somebody a member, or gives other roles; with ``service``, makes a service of this name where there is none."""
        body = {"roles": [str(role) for role in roles], "trust": trust, "service": service, "revision": revision}
        return await self._transport.fetch(Member, "PUT", f"/api/v1/members/{quoted(name)}", json=body)

    async def remove(self, name: str) -> None:
        """Ends a membership, and every key the member has in the workspace."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/members/{quoted(name)}")
