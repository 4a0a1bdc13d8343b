"""Self-service: what the caller is, may call and used, and keys of its own."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.core.api import Me
from modelyard.core.usage import UsageRow, UsageStep
from modelyard.sdk.async_resources.keys import OWN_KEYS, AsyncKeys
from modelyard.sdk.async_resources.platform import usage_query
from modelyard.sdk.async_transport import AsyncTransport


class AsyncOneself:
    """The caller itself."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.keys = AsyncKeys(transport, OWN_KEYS)

    async def get(self) -> Me:
        """Who the caller is in its workspace, which deployments it may call and which limits bind it."""
        return await self._transport.fetch(Me, "GET", "/api/v1/me")

    async def usage(
        self,
        *,
        by: Sequence[str] = ("deployment",),
        since: str = "",
        until: str = "",
        step: UsageStep | str = UsageStep.ALL,
        deployment: str = "",
        key: str = "",
    ) -> list[UsageRow]:
        """What the caller's own keys used: all of them, or one; of all deployments, or one."""
        params = {**usage_query(by, since, until, step), "deployment": deployment, "key_id": key}
        return await self._transport.fetch(list[UsageRow], "GET", "/api/v1/me/usage", params=params)
