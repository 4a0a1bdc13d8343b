"""What was used: sums over time, by deployment, key and the like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Row

from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.usage import USAGE_GROUPS, CallKind, ProtocolId, UsageRow, UsageStep
from modelyard.ledger.sums import MINUTE_NS
from modelyard.store.database import Session, Store
from modelyard.store.usage_sums import DAY, MONTH, TOLD, WHOLE, Wanted

DIMENSIONS = dict(zip(USAGE_GROUPS, ("deployment_id", "key_id", "version_id", "protocol", "kind", "status"), strict=True))
PERIODS = {UsageStep.MINUTE: 1, UsageStep.HOUR: 60, UsageStep.DAY: DAY, UsageStep.MONTH: MONTH, UsageStep.ALL: WHOLE}
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
    keys: tuple[int, ...] | None = None
    """Only calls with these, by their ids; None for all."""
    may: frozenset[str] = frozenset()
    """Names of the deployments that the asker may know of; empty for all."""
    by_others: bool = False
    """Calls that other workspaces made of deployments that this one shares, or shared, with them, in place of its own calls."""


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
        # What was not asked to be split is the same in all rows.
        return sorted(found, key=attrgetter("start_ns", "workspace", *(name for name in USAGE_GROUPS if name in wish.by)))

    def pages(self, wish: UsageWish) -> Iterator[list[UsageRow]]:
        """The same in pieces, ordered by time only, for any length. Holds a read transaction while it is iterated.

        Raises as ``usage``, before the first piece.
        """
        for name in wish.by:
            if name not in DIMENSIONS:
                raise InvalidRequest(f"Usage cannot be split by {name!r}.{did_you_mean(name, DIMENSIONS)} Known: {', '.join(DIMENSIONS)}.")
        with self._store.read() as session:
            for wanted, callers in _others(session, wish) if wish.by_others else [(_wanted(wish, _only(session, wish)), "")]:
                self._check_kept(session, wanted)
                names = _Names(session, session.shares.names(wish.workspace_id))
                for page in session.usage.sums(wanted):
                    yield names.rows(wanted.by, page, callers)

    @staticmethod
    def _check_kept(session: Session, wanted: Wanted) -> None:
        kept = session.usage.minutes_from()
        if wanted.period == 1 and 0 < wanted.since < kept:
            raise InvalidRequest("Usage by minute is not kept that long; ask for a later time, or for step=hour.")


def _wanted(wish: UsageWish, only: Mapping[str, tuple[int, ...]]) -> Wanted:
    return Wanted(
        workspace_id=wish.workspace_id,
        since=wish.since_ns // MINUTE_NS,
        until=-(-wish.until_ns // MINUTE_NS),
        period=PERIODS[wish.step],
        by=tuple(dimension for name, dimension in DIMENSIONS.items() if name in wish.by),
        only=only,
        sums=TOLD,
    )


def _others(session: Session, wish: UsageWish) -> Iterator[tuple[Wanted, str]]:
    """What to read of each workspace that deployments are or were shared with, and its name.

    Raises InvalidRequest where keys are asked for: they are the callers' own affair.
    """
    if "key" in wish.by or wish.key or wish.keys is not None:
        raise InvalidRequest("Whose keys called a shared deployment is not told; leave the keys out.")
    names = {workspace.id: workspace.name for workspace in session.workspaces.list()}
    shared: dict[int, list[int]] = {}
    for share in session.shares.ever_given(wish.workspace_id):
        if (not wish.may or share.deployment in wish.may) and wish.deployment in {"", share.deployment}:
            shared.setdefault(share.borrower_id, []).append(share.deployment_id)
    for borrower_id, deployment_ids in sorted(shared.items()):
        wanted = _wanted(wish, {"deployment_id": tuple(deployment_ids)})
        yield msgspec.structs.replace(wanted, workspace_id=borrower_id), names.get(borrower_id, f"#{borrower_id}")


def _only(session: Session, wish: UsageWish) -> Mapping[str, tuple[int, ...]]:
    """Which ids count. What the asker may not know of is missing."""
    only: dict[str, tuple[int, ...]] = {}
    if wish.deployment or wish.may:
        listed = {found.name: found.id for found in session.deployments.list(wish.workspace_id)}
        for received in (session.shares.ever_received(wish.workspace_id), session.shares.received(wish.workspace_id)):
            listed |= {share.name: share.deployment_id for share in received}
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
        if key is None or (wish.keys is not None and key.id not in wish.keys):
            raise NotFound(f"There is no key {wish.key!r}; 'modelyard keys list' shows their ids.")
        only["key_id"] = (key.id,)
    elif wish.keys is not None:
        only["key_id"] = wish.keys
    return only


class _Names:
    """Ids as what people call them, looked up once each."""

    def __init__(self, session: Session, received: Mapping[int, str]) -> None:
        """``received`` are deployments of others, by what the asker calls them."""
        self._session = session
        self._known: dict[str, dict[int, tuple[str, str]]] = {
            "protocol": {member.value: (member.name.lower(), "") for member in ProtocolId},
            "kind": {member.value: (member.name.lower(), "") for member in CallKind},
            "status": {number: (f"{number}xx", "") for number in range(1, 6)},
            "key_id": {},
            "deployment_id": {identity: (name, "") for identity, name in received.items()},
            "version_id": {},
        }

    def rows(self, dimensions: Sequence[str], page: Sequence[Row[Any]], callers: str = "") -> list[UsageRow]:
        """What the ledger says, in words; ``callers`` is the workspace whose calls these are, where that is another one."""
        self._learn(dimensions, page)
        # One expression for each column and one row for each call of the class: answers of many thousand rows are mostly this.
        columns = dict(zip(("minute", *dimensions, *TOLD), zip(*page, strict=True), strict=True)) if page else {}
        told: dict[str, Iterable[Any]] = {name: columns[name] for name in TOLD if columns}
        if columns:
            told["start_ns"] = [minute * MINUTE_NS for minute in columns["minute"]]
            told["energy_uj"] = [energy or None for energy in columns["energy_uj"]]
        for name, dimension in DIMENSIONS.items():
            if dimension in columns:
                known = self._known[dimension]
                told[name] = [known[identity][0] for identity in columns[dimension]]
        if "key_id" in columns:
            told["key_label"] = [self._known["key_id"][identity][1] for identity in columns["key_id"]]
        names = (*told, "workspace")
        return [
            UsageRow(**dict(zip(names, values, strict=True))) for values in zip(*told.values(), repeat(callers, len(page)), strict=True)
        ]

    def _learn(self, dimensions: Sequence[str], page: Sequence[Row[Any]]) -> None:
        """Looks up what a page names, once."""
        for at, dimension in enumerate(dimensions, 1):
            known = self._known[dimension]
            new = {int(row[at]) for row in page}.difference(known)
            if new:
                known |= {identity: (f"#{identity}" if identity else "-", "") for identity in new}
                if dimension.endswith("_id"):
                    known |= self._session.usage.names(dimension, new)
