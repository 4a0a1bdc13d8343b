"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard.core.access import Action
from modelyard.core.api import IssuedKey, KeyView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted

KEYS, OWN_KEYS = "/api/v1/keys", "/api/v1/me/keys"


class AsyncKeys:
    """Keys of the caller's workspace; below ``/me``, the caller's own."""

    def __init__(self, transport: AsyncTransport, path: str = KEYS) -> None:
        self._transport, self._path = transport, path

    async def create(
        self,
        *,
        deployments: Sequence[str] = (),
        actions: Sequence[Action | str] = (Action.INFER,),
        label: str = "",
        expires_seconds: float = 0.0,
        networks: Sequence[str] = (),
        principal: str = "",
    ) -> IssuedKey:
        """A new key; its secret is in the answer and nowhere else. ``deployments`` empty means all of the workspace.

        ``networks`` are where it may be used from, like ``10.0.0.0/8``; ``principal`` is the member whose key it is, by default the
        caller.
        """
        body: dict[str, Any] = {
            "deployments": list(deployments),
            "actions": [str(action) for action in actions],
            "label": label,
            "expires_seconds": expires_seconds,
            "networks": list(networks),
            "principal": principal,
        }
        return await self._transport.fetch(IssuedKey, "POST", self._path, json=body)

    async def list(self) -> list[KeyView]:
        return await self._transport.fetch(list[KeyView], "GET", self._path)

    async def rotate(self, key_id: str, *, overlap_seconds: float = 0.0) -> IssuedKey:
        """Gives a key another secret, which is in the answer and nowhere else; the one before works for the overlap."""
        body = {"overlap_seconds": overlap_seconds}
        return await self._transport.fetch(IssuedKey, "POST", f"{self._path}/{quoted(key_id)}/rotate", json=body)

    async def revoke(self, key_id: str) -> None:
        """Ends a key; workers refuse it within a second."""
        await self._transport.fetch(type(None), "DELETE", f"{self._path}/{quoted(key_id)}")
