"""Refusals of rights, as a process notes them: counted in memory, written down behind the calls, told by the controller.

What an attacker can make grow is a number: one entry stands for all refusals of one right to one caller by one route, and there are so
many entries at most. No call waits for a disk or a database.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from modelyard.core.access import Grant
from modelyard.core.clock import Clock
from modelyard.core.refusals import Entries, Refusal, Why, gather
from modelyard.store.line_files import LineFile
from modelyard.store.scribe import Behind, at_once

logger = logging.getLogger(__name__)
WRITE_SECONDS = 0.5
"""How long refusals gather before they are written down."""
AGAIN_SECONDS = 10.0
"""After how long writing is tried again, when there was no room."""
MOST = 256
"""Entries that are kept apart."""
_LONGEST = 500


class Refusals:
    """Of one process; safe to use from several threads. ``later`` runs something after so many seconds, from any thread too; files are
    written ``behind`` that.
    """

    def __init__(
        self, file: LineFile, clock: Clock, later: Callable[[float, Callable[[], None]], object], behind: Behind = at_once
    ) -> None:
        self._file, self._clock, self._later, self._behind = file, clock, later, behind
        self._lock = threading.Lock()
        self._entries: Entries = {}
        self._told = False

    def of_key(  # what a row of the log is made of
        self, grant: Grant, why: Why, *, place: str, subject: str, reason: str, address: str, request_id: str
    ) -> None:
        """Notes that a key was refused; callers without one have no rights to be refused."""
        if grant.key_id:
            who = f"key:{grant.public_id}"
            self.note(
                Refusal(
                    workspace_id=grant.workspace_id,
                    actor=who,
                    why=why,
                    place=place,
                    subject=subject,
                    reason=reason,
                    address=address,
                    request_id=request_id,
                )
            )

    def note(self, refusal: Refusal) -> None:
        """Notes a refusal that has just happened."""
        now = self._clock.time_ns()
        refusal.subject, refusal.reason = refusal.subject[:_LONGEST], refusal.reason[:_LONGEST]
        refusal.first_ns = refusal.last_ns = now
        with self._lock:
            first = not self._entries
            gather(self._entries, refusal, MOST)
        if first:
            self._later(WRITE_SECONDS, self._due)

    def write(self) -> None:
        """Writes down what was noted; what cannot be written is kept, and tried again. Nobody who notes waits for it."""
        with self._lock:
            entries, self._entries = self._entries, {}
        if not entries:
            return
        try:
            self._file.append(b"".join([msgspec.json.encode(refusal) + b"\n" for refusal in entries.values()]))
        except OSError as error:
            with self._lock:
                newer, self._entries = self._entries, entries
                for refusal in newer.values():
                    gather(self._entries, refusal, MOST)
            if not self._told:
                logger.error("Refusals cannot be written down for the audit log now: %s", error.strerror)  # noqa: TRY400
            self._told = True
            self._later(AGAIN_SECONDS, self._due)
            return
        self._told = False

    def _due(self) -> None:
        if not self._behind(self.write):
            self._later(WRITE_SECONDS, self._due)
