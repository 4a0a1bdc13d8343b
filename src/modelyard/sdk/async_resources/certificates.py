"""Client certificates that stand for keys."""

from __future__ import annotations

from modelyard.core.api import BindingView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted


class AsyncCertificates:
    """Whoever shows such a certificate in the TLS handshake needs no key."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def bind(self, key_id: str, certificate: str) -> BindingView:
        """Lets a certificate stand for a key: ``sha256:…`` with its fingerprint, or ``subject:…``."""
        body = {"certificate": certificate}
        return await self._transport.fetch(BindingView, "POST", f"/api/v1/keys/{quoted(key_id)}/certificates", json=body)

    async def list(self) -> list[BindingView]:
        return await self._transport.fetch(list[BindingView], "GET", "/api/v1/keys/certificates")

    async def unbind(self, key_id: str, certificate: str) -> None:
        """Ends that; workers refuse it within a second."""
        params = {"certificate": certificate}
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/keys/{quoted(key_id)}/certificates", params=params)
