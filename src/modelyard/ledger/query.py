"""What was used: sums over time, by deployment, key and the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.usage import USAGE_GROUPS, CallKind, ProtocolId, UsageRow, UsageStep
from modelyard.ledger.sums import MINUTE_NS
from modelyard.store.database import Session, Store
from modelyard.store.usage_sums import DAY, MONTH, SUMS, WHOLE, Wanted

DIMENSIONS = dict(zip(USAGE_GROUPS, ("deployment_id", "key_id", "version_id", "protocol", "kind", "status"), strict=True))
PERIODS = {UsageStep.MINUTE: 1, UsageStep.HOUR: 60, UsageStep.DAY: DAY, UsageStep.MONTH: MONTH, UsageStep.ALL: WHOLE}
_ORDER = attrgetter("start_ns", *USAGE_GROUPS)
MOST_ROWS = 50_000
"""In one answer; an export has no such bound."""


class UsageWish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to know."""

    workspace_id: int
    since_ns: int = 0
    """Times count in whole minutes."""
    until_ns: int = 0
    """Before which; 0: to the end."""
    step: UsageStep = UsageStep.ALL
    by: tuple[str, ...] = ("deployment",)
    """Of ``USAGE_GROUPS``."""
    deployment: str = ""
    """Only calls of this one; ``#7`` for one that is gone."""
    key: str = ""
    """Only calls with this key, by its public id."""
    may: frozenset[str] = frozenset()
    """Names of the deployments that the asker may know of; empty for all."""


class UsageQuery:
    """Reads the ledger. Calls of the last seconds may not be folded yet."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def usage(self, wish: UsageWish) -> list[UsageRow]:
        """Sums in order of time and names.

        Raises InvalidRequest for an unknown group and for an answer that is too long, NotFound for a missing deployment or key.
        """
        found: list[UsageRow] = []
        for page in self.pages(wish):
            found += page
            if len(found) > MOST_ROWS:
                raise InvalidRequest(f"This answer has more than {MOST_ROWS} rows; ask for a shorter time or longer steps, or export it.")
        return sorted(found, key=_ORDER)

    def pages(self, wish: UsageWish) -> Iterator[list[UsageRow]]:
        """The same in pieces, ordered by time only, for any length. Holds a read transaction while it is iterated.

        Raises as ``usage``, before the first piece.
        """
        for name in wish.by:
            if name not in DIMENSIONS:
                raise InvalidRequest(f"Usage cannot be split by {name!r}.{did_you_mean(name, DIMENSIONS)} Known: {', '.join(DIMENSIONS)}.")
        with self._store.read() as session:
            wanted = Wanted(
                workspace_id=wish.workspace_id,
                since=wish.since_ns // MINUTE_NS,
                until=-(-wish.until_ns // MINUTE_NS),
                period=PERIODS[wish.step],
                by=tuple(dimension for name, dimension in DIMENSIONS.items() if name in wish.by),
                only=_only(session, wish),
            )
            self._check_kept(session, wanted)
            names = _Names(session)
            for page in session.usage.sums(wanted):
                names.learn(wanted.by, page)
                yield [names.row(wanted.by, row) for row in page]

    @staticmethod
    def _check_kept(session: Session, wanted: Wanted) -> None:
        kept = session.usage.minutes_from()
        if wanted.period == 1 and 0 < wanted.since < kept:
            raise InvalidRequest("Usage by minute is not kept that long; ask for a later time, or for step=hour.")


def _only(session: Session, wish: UsageWish) -> Mapping[str, tuple[int, ...]]:
    """Which ids count. What the asker may not know of is missing."""
    only: dict[str, tuple[int, ...]] = {}
    if wish.deployment or wish.may:
        listed = {found.name: found.id for found in session.deployments.list(wish.workspace_id)}
        known = {name: identity for name, identity in listed.items() if not wish.may or name in wish.may}
        only["deployment_id"] = tuple(known.values())
        if wish.deployment.startswith("#") and wish.deployment[1:].isdecimal() and not wish.may:
            only["deployment_id"] = (int(wish.deployment[1:]),)
        elif wish.deployment:
            if wish.deployment not in known:
                raise NotFound(f"There is no deployment {wish.deployment!r}.{did_you_mean(wish.deployment, known)}")
            only["deployment_id"] = (known[wish.deployment],)
    if wish.key:
        key = session.keys.get(wish.workspace_id, wish.key)
        if key is None:
            raise NotFound(f"There is no key {wish.key!r}; 'modelyard keys list' shows their ids.")
        only["key_id"] = (key.id,)
    return only


class _Names:
    """Ids as what people call them, looked up once each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, dict[int, tuple[str, str]]] = {
            "protocol": {member.value: (member.name.lower(), "") for member in ProtocolId},
            "kind": {member.value: (member.name.lower(), "") for member in CallKind},
            "status": {number: (f"{number}xx", "") for number in range(1, 6)},
            "key_id": {},
            "deployment_id": {},
            "version_id": {},
        }

    def learn(self, dimensions: Sequence[str], page: Sequence[RowMapping]) -> None:
        """Looks up what a page names."""
        for dimension in dimensions:
            known = self._known[dimension]
            new = {int(row[dimension]) for row in page}.difference(known, (0,))
            if new and dimension.endswith("_id"):
                known |= dict.fromkeys(new, ("", "")) | self._session.usage.names(dimension, new)

    def row(self, dimensions: Sequence[str], row: RowMapping) -> UsageRow:
        labels: dict[str, Any] = {}
        for name, dimension in DIMENSIONS.items():
            if dimension in dimensions:
                identity = int(row[dimension])
                text, label = self._known[dimension].get(identity, ("", ""))
                labels[name] = text or (f"#{identity}" if identity else "-")
                if label:
                    labels["key_label"] = label
        return UsageRow(start_ns=row["minute"] * MINUTE_NS, **labels, **{name: row[name] for name in SUMS})
