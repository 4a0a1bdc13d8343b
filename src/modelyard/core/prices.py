"""Prices: what calls cost, in integer millionths of a currency's unit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest
from modelyard.core.limits import MICRO

RATES = ("call", "row", "tokens_in", "tokens_out", "tokens_cached", "compute_second", "explanation", "cached_call")
HIGHEST = 1_000_000 * MICRO
"""What a rate may be at most: products with any count of one call then stay far below 2**63."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What calls of a deployment, or of one of its versions, cost from a moment on. Prices are added, never changed."""

    id: int
    workspace_id: int
    deployment: str
    """Its name; empty for every deployment of the workspace that has no price of its own."""
    version_id: int = 0
    """0 for every version that has no price of its own. One without a deployment is priced wherever it answers."""
    currency: str
    call: int = 0
    """For each call that is answered."""
    row: int = 0
    tokens_in: int = 0
    """For 1000 of them, like the next two."""
    tokens_out: int = 0
    tokens_cached: int = 0
    compute_second: int = 0
    explanation: int = 0
    cached_call: int | None = None
    """For each call that was answered without computing, in place of all the rest; None: such a call costs what any other does."""
    effective_ns: int = 0
    """From when on; earlier calls cost what they did."""
    created_by: str = ""
    created_ns: int = 0

    @property
    def certain(self) -> bool:
        """Whether the most that a call costs is known before it is computed: nothing of it depends on what comes out."""
        return not (self.tokens_out or self.tokens_cached or self.compute_second or self.explanation)

    @property
    def named(self) -> tuple[str, ...]:
        """The rates that say something: those above nothing, and that of cached calls wherever there is one."""
        return tuple(name for name in RATES if getattr(self, name) or (name == "cached_call" and self.cached_call is not None))

    @property
    def entry(self) -> int:
        """What any call costs for being one, whether or not it will have to be computed."""
        return max(self.call, self.cached_call or 0)

    def of(self, cost: Cost) -> int:
        """What an answered call costs, rounded up to a millionth once."""
        if cost.cached and self.cached_call is not None:
            return self.cached_call
        thousandths = cost.tokens_in * self.tokens_in + cost.tokens_out * self.tokens_out + cost.tokens_cached * self.tokens_cached
        fine = thousandths * 1000 + cost.compute_us * self.compute_second
        return self.call + cost.rows * self.row + cost.explanations * self.explanation - -fine // MICRO


class ListedPrice(Price, frozen=True, kw_only=True):
    """A price as it is told to people."""

    version: str = ""
    """``model@number``, where it is for one version only."""

    @classmethod
    def of_version(cls, price: Price, version: str) -> ListedPrice:
        return cls(**msgspec.structs.asdict(price), version=version)


def check_rates(price: Price) -> None:
    """Raises InvalidRequest for a rate that is negative or too high to be counted."""
    for name in RATES:
        if not 0 <= (getattr(price, name) or 0) <= HIGHEST:
            raise InvalidRequest(f"The price {name!r} must be from 0 to {HIGHEST // MICRO}; correct it.")


def price_at(prices: list[Price], time_ns: int) -> Price | None:
    """The one in force at a time, of prices for the same thing in the order of their times."""
    found = None
    for price in prices:
        if price.effective_ns <= time_ns:
            found = price
    return found


class Tariff:
    """The prices of one deployment's calls: its own, or those of its workspace."""

    def __init__(self, prices: Iterable[Price], workspace_id: int, deployment: str) -> None:
        """``prices`` in the order in which they take effect."""
        self._own: dict[int, list[Price]] = {}
        self._general: dict[int, list[Price]] = {}
        for price in prices:
            if price.workspace_id == workspace_id and price.deployment in {"", deployment}:
                (self._own if price.deployment else self._general).setdefault(price.version_id, []).append(price)

    def price(self, version_id: int, time_ns: int) -> Price | None:
        """What is in force for a version: the deployment's own price of it, else the deployment's; else, of prices that name no
        deployment, that of the version, else that of all.
        """
        for prices in (self._own.get(version_id), self._own.get(0), self._general.get(version_id), self._general.get(0)):
            found = price_at(prices, time_ns) if prices else None
            if found is not None:
                return found
        return None

    def call(self, time_ns: int) -> int:
        """What any call costs for being one: the highest, while its version is not known."""
        possible = list(self._own.values())
        if price_at(self._own.get(0, []), time_ns) is None:
            possible += self._general.values()
        found = [price_at(prices, time_ns) for prices in possible]
        return max([price.entry for price in found if price is not None], default=0)

    def of(self, cost: Cost, time_ns: int) -> int:
        """What an answered call costs; nothing without a price."""
        price = self.price(cost.version_id, time_ns)
        return 0 if price is None else price.of(cost)
