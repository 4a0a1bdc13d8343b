"""Refusals of rights, from the processes that noted them into the audit log.

A refusal gets its row within seconds. When a caller goes on to be refused the same, rows come less and less often, each with the number
of refusals that it stands for: nothing is left out of the count, and no caller makes the log grow faster than that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import Clock
from modelyard.core.events import Actor
from modelyard.core.refusals import Entries, Refusal, Same, Why, gather
from modelyard.core.unreadable import UNREADABLE
from modelyard.store.database import Session, Store
from modelyard.store.line_files import LineFolder

logger = logging.getLogger(__name__)
ACTION = "right.refused"
SIGN_IN = "sign-in.refused"
MOST = 1000
"""Entries that are kept apart at the same time."""
FIRST_NS = 2_000_000_000
"""So long after a row the same caller's next one comes at the earliest; twice as long after each further one."""
LONGEST_NS = 3600 * 1_000_000_000


class _Told(msgspec.Struct, kw_only=True):
    """When a caller's refusals were last told, and how long they are held back now."""

    at_ns: int
    wait_ns: int


class _Kept(msgspec.Struct, kw_only=True):
    """What one pass leaves to the next, in the database: written in the transaction of the rows, so none is written twice."""

    done: list[str] = []
    """Files that are in the log, and may still lie there."""
    held: list[Refusal] = []
    told: list[tuple[Same, _Told]] = []


class RefusalIntake:
    """Takes what processes noted into the audit log. Belongs to one thread; ``node`` names this home among those of one database."""

    def __init__(self, store: Store, folder: LineFolder, clock: Clock, node: str) -> None:
        self._store, self._folder, self._clock = store, folder, clock
        self._setting = f"refusals {node}"
        self._due_ns = 0
        """When something that is held back is to be told; 0 while it is not known what is."""

    def take(self) -> int:
        """Takes in what has come and tells what is due; how many rows that makes."""
        files, now = self._folder.take(), self._clock.time_ns()
        if not files and 0 < now < self._due_ns:
            return 0
        with self._store.write() as session:
            kept = self._read(session)
            entries: Entries = {}
            new = [path for path in files if path.name not in kept.done]
            for refusal in (*kept.held, *(refusal for path in new for refusal in refusals_in(path))):
                gather(entries, refusal, MOST)
            told = dict(kept.told)
            due = [entry for entry in entries.values() if _is_due(told.get(entry.same), now)]
            for entry in due:
                self._tell(session, entry)
                told[entry.same] = _after(told.get(entry.same), now)
            held = [entry for entry in entries.values() if entry not in due]
            still = {same: when for same, when in told.items() if now < when.at_ns + 2 * when.wait_ns}
            left = _Kept(done=[path.name for path in files], held=held, told=list(still.items()))
            if left != kept:
                session.settings.put(self._setting, msgspec.json.encode(left).decode())
        for path in files:
            path.unlink(missing_ok=True)
        self._due_ns = min((told[entry.same].at_ns + told[entry.same].wait_ns for entry in held), default=1 << 62)
        return len(due)

    def _read(self, session: Session) -> _Kept:
        kept = session.settings.get(self._setting)
        return msgspec.json.decode(kept, type=_Kept) if kept else _Kept()

    def _tell(self, session: Session, entry: Refusal) -> None:
        known = session.workspaces.get(entry.workspace_id)
        if known is None:
            return
        actor = Actor(
            name=entry.actor or "several",
            workspace_id=entry.workspace_id,
            address=entry.address,
            request_id=entry.request_id,
        )
        after: dict[str, Any] = {"reason": entry.reason} if entry.reason else {}
        after |= {"times": entry.count, "first_ns": entry.first_ns, "last_ns": entry.last_ns}
        session.audit.append(actor, SIGN_IN if entry.why is Why.SIGN_IN else ACTION, entry.subject, after=after)


def refusals_in(path: Path) -> Iterable[Refusal]:
    """The whole lines of a file; a process that was killed may have left half of the last one."""
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=Refusal)
        except UNREADABLE:
            logger.warning("A refusal in %s is damaged and not in the audit log", path.name)


def _is_due(told: _Told | None, now_ns: int) -> bool:
    # A clock that was set back holds nothing back.
    return told is None or not told.at_ns <= now_ns < told.at_ns + told.wait_ns


def _after(told: _Told | None, now_ns: int) -> _Told:
    """Twice as long as before for whoever goes on; from the beginning for whoever was quiet as long as that."""
    goes_on = told is not None and now_ns < told.at_ns + 2 * told.wait_ns
    return _Told(at_ns=now_ns, wait_ns=min(LONGEST_NS, 2 * told.wait_ns) if told is not None and goes_on else FIRST_NS)
