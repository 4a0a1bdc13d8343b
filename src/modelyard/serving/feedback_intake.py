"""What users reported of answers, from workers' files into the database, each with the version that answered the call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from modelyard.core.unreadable import UNREADABLE
from modelyard.core.usage import UsageRecord
from modelyard.ledger.trace import Tracer
from modelyard.serving.feedback import Report
from modelyard.store.database import Store
from modelyard.store.feedback import Feedback
from modelyard.store.line_files import LineFolder

logger = logging.getLogger(__name__)
KEEP_NS = 90 * 86_400 * 1_000_000_000
"""So long reports are kept."""


def reports_in(path: Path) -> Iterator[Report]:
    """The whole lines of a file; a worker that was killed may have left half of the last one."""
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=Report)
        except UNREADABLE:
            logger.warning("A report in %s is damaged and left out", path.name)


class FeedbackIntake:
    """Takes reports into the database, each with the version that its call was answered by."""

    def __init__(self, store: Store, folder: LineFolder, tracer: Tracer) -> None:
        self._store, self._folder, self._tracer = store, folder, tracer

    def take(self) -> int:
        """Takes what has come since the last time; how many reports were of calls that are known."""
        taken = 0
        for path in self._folder.take():
            reports = list(reports_in(path))
            records = self._tracer.find([bytes.fromhex(report.request_id) for report in reports])
            found = list(_matched(reports, records))
            with self._store.write() as session:
                session.feedback.put(found)
            path.unlink()
            taken += len(found)
        return taken

    def expire(self, now_ns: int) -> None:
        """Deletes reports that are older than they are kept."""
        with self._store.write() as session:
            session.feedback.expire(now_ns - KEEP_NS)


def _matched(reports: Iterable[Report], records: dict[bytes, UsageRecord]) -> Iterator[Feedback]:
    """Reports of calls of the reporter's own workspace that a version answered; of others nothing is told."""
    for report in reports:
        record = records.get(bytes.fromhex(report.request_id))
        if record is None or record.workspace_id != report.workspace_id or not record.version_id:
            continue
        yield Feedback(
            request_id=report.request_id,
            workspace_id=record.workspace_id,
            deployment_id=record.deployment_id,
            version_id=record.version_id,
            value=report.value,
            time_ns=report.time_ns,
        )
