"""API keys."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.core.access import Action
from modelyard.core.api import IssuedKey, KeyView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted


class AsyncKeys:
    """Keys of the caller's workspace."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        deployments: Sequence[str] = (),
        actions: Sequence[Action | str] = (Action.INFER,),
        label: str = "",
        expires_seconds: float = 0.0,
    ) -> IssuedKey:
        """A new key; its secret is in the answer and nowhere else. ``deployments`` empty means all of the workspace."""
        body = {
            "deployments": list(deployments),
            "actions": [str(action) for action in actions],
            "label": label,
            "expires_seconds": expires_seconds,
        }
        return await self._transport.fetch(IssuedKey, "POST", "/api/v1/keys", json=body)

    async def list(self) -> list[KeyView]:
        return await self._transport.fetch(list[KeyView], "GET", "/api/v1/keys")

    async def revoke(self, key_id: str) -> None:
        """Ends a key; workers refuse it within a second."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/keys/{quoted(key_id)}")
