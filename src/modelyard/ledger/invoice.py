"""Bills from the ledger: its sums, times the prices that were in force when they came about.

A price takes effect at a full minute, and the ledger has sums by minute, so a month is cut where a price of the workspace changes and
every part is summed and priced on its own. Where sums by minute are not kept any more, a cut falls on the next full hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from modelyard.core.clock import Clock
from modelyard.core.invoices import Invoice, InvoiceLine, parse_month
from modelyard.core.limits import MICRO
from modelyard.core.prices import RATES, Price, Tariff
from modelyard.core.usage import CallKind
from modelyard.ledger.sums import MINUTE_NS
from modelyard.store.database import Session, Store
from modelyard.store.usage import UsageMinute

_BY = ("deployment_id", "version_id", "kind", "status")
_PER = {"tokens_in": 1000, "tokens_out": 1000, "tokens_cached": 1000, "compute_second": MICRO}
"""Of how many of the ledger's units a rate is the price; one for what is not named."""
_ANSWERED = 4
"""Status classes below are answers."""


@dataclass(slots=True)
class _Part:
    """What was used of one price in one part of the month."""

    deployment: str
    version: str
    price: Price
    quantities: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RATES, 0))

    def add(self, used: UsageMinute) -> None:
        quantities = self.quantities
        if self.price.cached_call is not None:
            quantities["cached_call"] += used.cached_calls
            used = used.computed
        quantities["call"] += used.calls
        quantities["row"] += used.rows
        quantities["tokens_in"] += used.tokens_in
        quantities["tokens_out"] += used.tokens_out
        quantities["tokens_cached"] += used.tokens_cached
        quantities["compute_second"] += used.compute_us
        quantities["explanation"] += used.calls if used.kind == CallKind.EXPLAIN else 0

    def lines(self, from_ns: int, until_ns: int) -> Iterator[InvoiceLine]:
        for item, quantity in self.quantities.items():
            rate = getattr(self.price, item)
            if rate and quantity:
                yield InvoiceLine(
                    deployment=self.deployment,
                    version=self.version,
                    item=item,
                    from_ns=from_ns,
                    until_ns=until_ns,
                    quantity=quantity,
                    rate=rate,
                    amount=amount_of(quantity, rate, item),
                )


def amount_of(quantity: int, rate: int, item: str) -> int:
    """What so much costs, in millionths, rounded half up."""
    per = _PER.get(item, 1)
    return (2 * quantity * rate + per) // (2 * per)


class Invoices:
    """Makes invoices. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def invoice(self, workspace_id: int, month: str) -> Invoice:
        """What a workspace owes for a month; up to now, while it is not over. Calls of the last seconds may be missing.

        Raises InvalidRequest for what is no month.
        """
        first = parse_month(month)
        begin, end = (round(moment.timestamp()) // 60 for moment in (first, (first + timedelta(days=32)).replace(day=1)))
        now = self._clock.time_ns()
        with self._store.read() as session:
            workspace = session.workspaces.get(workspace_id)
            bill = _Bill(session, workspace_id)
            cuts = bill.cuts(begin, end)
            for since, until in pairwise(cuts):
                bill.add(since, until)
        lines = tuple(sorted(bill.lines, key=lambda line: (line.deployment, line.from_ns, line.version, RATES.index(line.item))))
        return Invoice(
            workspace=workspace.name if workspace is not None else f"#{workspace_id}",
            month=first.strftime("%Y-%m"),
            from_ns=begin * MINUTE_NS,
            until_ns=end * MINUTE_NS,
            issued_ns=now,
            complete=now >= end * MINUTE_NS,
            currency=next(iter(bill.currencies), ""),
            lines=lines,
            total=sum(line.amount for line in lines),
            answered_calls=bill.answered,
            unpriced_calls=bill.unpriced,
        )


class _Bill:
    """The lines of one invoice while they are gathered."""

    def __init__(self, session: Session, workspace_id: int) -> None:
        self._session, self._workspace_id = session, workspace_id
        # What others share costs what its owner says.
        self._shared = {share.deployment_id: (share.workspace_id, share.deployment) for share in session.shares.ever_received(workspace_id)}
        owners = {workspace_id, *(owner_id for owner_id, _ in self._shared.values())}
        self._prices = [price for owner_id in sorted(owners) for price in session.prices.list(owner_id)]
        # By time, whatever they are for.
        self._ordered = sorted(self._prices, key=lambda price: (price.effective_ns, price.id))
        self._tariffs: dict[tuple[int, str], Tariff] = {}
        self._names = session.deployments.names(workspace_id) | session.shares.names(workspace_id)
        self._versions: dict[int, str] = {}
        # A workspace counts in one currency, which its services see to.
        self.currencies = {price.currency for price in self._prices}
        self.lines: list[InvoiceLine] = []
        self.answered = 0
        self.unpriced = 0

    def cuts(self, begin: int, end: int) -> Sequence[int]:
        """The minutes at which parts of the month begin, and its end."""
        kept = self._session.usage.minutes_from()
        changes = (-(-price.effective_ns // MINUTE_NS) for price in self._prices)
        whole = {minute if minute >= kept else -(-minute // 60) * 60 for minute in changes}
        return [begin, *sorted(minute for minute in whole if begin < minute < end), end]

    def add(self, since: int, until: int) -> None:
        """Prices what was used from one cut to the next: no price changes in between."""
        parts: dict[tuple[int, str], _Part] = {}
        at_ns = since * MINUTE_NS
        for used in self._session.usage.totals(self._workspace_id, since_minute=since, until_minute=until, by=_BY):
            if used.status >= _ANSWERED or used.kind == CallKind.SHADOW:
                continue
            self.answered += used.calls
            name = self._names.get(used.deployment_id, f"#{used.deployment_id}" if used.deployment_id else "")
            whose = self._shared.get(used.deployment_id, (self._workspace_id, name))
            price = self._tariff(*whose).price(used.version_id, at_ns) if name else None
            if price is None:
                self.unpriced += used.calls if name else 0
                continue
            part = parts.get((price.id, name))
            if part is None:
                part = parts[price.id, name] = _Part(name, self._version(price.version_id), price)
            part.add(used)
        for part in parts.values():
            self.lines += part.lines(since * MINUTE_NS, until * MINUTE_NS)

    def _tariff(self, owner_id: int, deployment: str) -> Tariff:
        found = self._tariffs.get((owner_id, deployment))
        if found is None:
            found = self._tariffs[owner_id, deployment] = Tariff(self._ordered, owner_id, deployment)
        return found

    def _version(self, version_id: int) -> str:
        if not version_id:
            return ""
        if version_id not in self._versions:
            self._versions |= {identity: name for identity, (name, _) in self._session.usage.names("version_id", [version_id]).items()}
        return self._versions.get(version_id, f"#{version_id}")
