"""What was used: sums over time, by deployment, key and the like."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.usage import ProtocolId
from modelyard.ledger.sums import MINUTE_NS
from modelyard.store.database import Session, Store
from modelyard.store.usage import SUMS, UsageMinute


class Step(IntEnum):
    """Length of a period, in minutes."""

    MINUTE = 1
    HOUR = 60
    DAY = 1440


GROUPS = {"deployment": "deployment_id", "key": "key_id", "version": "version_id", "protocol": "protocol", "status": "status"}
"""By what usage can be split, and the ledger's name for it."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums over one period. What was not asked to be split is empty."""

    start_ns: int
    deployment: str = ""
    """Its name; ``#7`` for one that is gone; ``-`` for calls that name none."""
    key: str = ""
    """The key's public id."""
    version: str = ""
    """``model@number``."""
    protocol: str = ""
    status: str = ""
    """``2xx``, ``4xx`` or ``5xx``."""
    calls: int = 0
    cached_calls: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    queue_us: int = 0
    compute_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class UsageQuery:
    """Reads the ledger. Calls of the last seconds may not be folded yet."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def usage(
        self,
        workspace_id: int,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        step: Step = Step.DAY,
        by: Sequence[str] = ("deployment",),
        deployment: str = "",
    ) -> list[UsageRow]:
        """Sums from ``since_ns`` to before ``until_ns`` (0: to the end) in periods of ``step`` (UTC), split by ``GROUPS``; times
        count in whole minutes. Only the named ``deployment``, where one is given.

        Raises InvalidRequest for an unknown group.
        """
        for name in by:
            if name not in GROUPS:
                raise InvalidRequest(f"Usage cannot be split by {name!r}.{did_you_mean(name, GROUPS)} Known: {', '.join(GROUPS)}.")
        groups = list(dict.fromkeys([*by, "deployment"] if deployment else by))
        with self._store.read() as session:
            minutes = session.usage.totals(
                workspace_id,
                since_minute=since_ns // MINUTE_NS,
                until_minute=-(-until_ns // MINUTE_NS),
                by=["minute", *(GROUPS[name] for name in groups)],
            )
            names = _Names(session, workspace_id, groups, minutes)
        sums: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for minute in minutes:
            labels = tuple(names.label(group, minute) for group in groups)
            if deployment and labels[groups.index("deployment")] != deployment:
                continue
            shown = tuple(label for group, label in zip(groups, labels, strict=True) if group in by)
            total = sums.setdefault((minute.minute // step * step, shown), [0] * len(SUMS))
            for index, name in enumerate(SUMS):
                total[index] += getattr(minute, name)
        kept = [group for group in groups if group in by]
        return [_row(start, dict(zip(kept, labels, strict=True)), total) for (start, labels), total in sorted(sums.items())]


class _Names:
    """Ids as what people call them."""

    def __init__(self, session: Session, workspace_id: int, groups: Sequence[str], minutes: Sequence[UsageMinute]) -> None:
        self._names: dict[str, dict[int, str]] = {"protocol": {member.value: member.name.lower() for member in ProtocolId}}
        self._names["status"] = {number: f"{number}xx" for number in range(1, 6)}
        if "deployment" in groups:
            self._names["deployment"] = {found.id: found.name for found in session.deployments.list(workspace_id)}
        if "key" in groups:
            self._names["key"] = {key.id: key.public_id for key in session.keys.list(workspace_id)}
        if "version" in groups:
            found = session.versions.by_ids({minute.version_id for minute in minutes})
            self._names["version"] = {version.id: version.reference for version in found}

    def label(self, group: str, minute: UsageMinute) -> str:
        identity = int(getattr(minute, GROUPS[group]))
        return self._names[group].get(identity) or (f"#{identity}" if identity else "-")


def _row(start_minute: int, labels: dict[str, str], total: Sequence[int]) -> UsageRow:
    return msgspec.convert({"start_ns": start_minute * MINUTE_NS, **labels, **dict(zip(SUMS, total, strict=True))}, UsageRow)
