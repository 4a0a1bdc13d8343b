"""Limits and prices."""

from __future__ import annotations

from modelyard.core.limits import Limit, Scope
from modelyard.core.prices import ListedPrice
from modelyard.sdk.async_transport import AsyncTransport


class AsyncUsageLimits:
    """How much may be used by whom in which time."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def set(self, limit: str, *, scope: Scope | str = Scope.WORKSPACE, subject: str = "", revision: int | None = None) -> Limit:
        """Sets a limit such as ``100/min``, ``5000 rows/day``, ``10 USD/month`` or ``4 concurrent``, or gives it another amount.

        ``subject`` is a key's id, a member's or a deployment's name, or, for the scope ``share``, ``deployment/workspace``. With
        ``revision`` (0: there was none) it raises Conflict when somebody else was faster.
        """
        body = {"scope": str(scope), "subject": subject, "limit": limit, "revision": revision}
        return await self._transport.fetch(Limit, "PUT", "/api/v1/limits", json=body)

    async def list(self) -> list[Limit]:
        return await self._transport.fetch(list[Limit], "GET", "/api/v1/limits")

    async def remove(self, limit_id: int) -> None:
        """Ends a limit; workers stop counting by it within a second."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/limits/{limit_id}")


class AsyncPrices:
    """What calls cost, from when on."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def set(self, currency: str, *, deployment: str = "", version: str = "", effective_ns: int = 0, **rates: str) -> ListedPrice:
        """Adds a price: ``rates`` are decimal texts for ``call``, ``row``, ``tokens_in``, ``tokens_out``, ``tokens_cached`` (for 1000),
        ``compute_second``, ``explanation`` and ``cached_call`` (in place of all these, for answers that were kept). Without a
        deployment it is for all that have none of their own.
        """
        body = {"currency": currency, "deployment": deployment, "version": version, "effective_ns": effective_ns, **rates}
        return await self._transport.fetch(ListedPrice, "POST", "/api/v1/prices", json=body)

    async def list(self) -> list[ListedPrice]:
        """Prices, past and to come; amounts are millionths of the currency's unit."""
        return await self._transport.fetch(list[ListedPrice], "GET", "/api/v1/prices")
