"""People of the platform, and the providers that they sign in with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.core.api import IssuedKey
from modelyard.core.sign_in import Invitation, Person, ProviderView
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import quoted


class AsyncPeople:
    """For administrators; signing in is for everybody."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[Person]:
        return await self._transport.fetch(list[Person], "GET", "/api/v1/people")

    async def add(self, name: str, *, display: str = "", admin: bool = False) -> Invitation:
        """A new person, and the one-time token with which it sets a password."""
        body = {"name": name, "display": display, "admin": admin}
        return await self._transport.fetch(Invitation, "POST", "/api/v1/people", json=body)

    async def invite(self, name: str) -> Invitation:
        """Another one-time token."""
        return await self._transport.fetch(Invitation, "POST", f"/api/v1/people/{quoted(name)}/invite", json={})

    async def disable(self, name: str, *, disabled: bool = True) -> Person:
        """Takes every right, session and key from a person, or lets it in again."""
        return await self._transport.fetch(Person, "PATCH", f"/api/v1/people/{quoted(name)}", json={"disabled": disabled})

    async def set_password(self, token: str, password: str) -> None:
        """Sets a password with a one-time token; needs no key."""
        body = {"token": token, "password": password}
        await self._transport.fetch(type(None), "POST", "/api/v1/sign-in/password", json=body)

    async def sign_in(self, name: str, password: str, *, workspace: str = "", hours: float = 12) -> IssuedKey:
        """A short-lived key for a password; needs no key."""
        body = {"name": name, "password": password, "workspace": workspace, "hours": hours}
        return await self._transport.fetch(IssuedKey, "POST", "/api/v1/sign-in/key", json=body)


class AsyncProviders:
    """OpenID providers."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[ProviderView]:
        return await self._transport.fetch(list[ProviderView], "GET", "/api/v1/providers")

    async def put(self, name: str, provider: Mapping[str, Any]) -> ProviderView:
        """Makes a provider known, or changes it: ``issuer``, ``client_id``, ``client_secret``, ``groups_claim``, ``mapping``."""
        return await self._transport.fetch(ProviderView, "PUT", f"/api/v1/providers/{quoted(name)}", json=dict(provider))

    async def remove(self, name: str) -> None:
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/providers/{quoted(name)}")
