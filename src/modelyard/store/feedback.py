"""What users reported of answers: one value a call, by its request id."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from modelyard.core.rollout import Outcomes
from modelyard.store.tables import feedback


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One report. Ids are those of the call that it is about."""

    request_id: str
    """32 hexadecimal digits."""
    workspace_id: int
    deployment_id: int
    version_id: int
    value: float
    time_ns: int
    """When it was reported."""


class FeedbackTable:
    """Rows of ``feedback``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, reports: Iterable[Feedback]) -> None:
        """Stores reports; a later one of the same call takes an earlier one's place."""
        newest = {report.request_id: report for report in reports}
        if not newest:
            return
        self._connection.execute(delete(feedback).where(feedback.c.request_id.in_(list(newest))))
        self._connection.execute(insert(feedback), [msgspec.structs.asdict(report) for report in newest.values()])

    def outcomes(self, deployment_id: int, since_ns: int) -> dict[int, Outcomes]:
        """Sums by version of what was reported since a time."""
        value = feedback.c.value
        query = select(feedback.c.version_id, func.count(), func.sum(value), func.sum(value * value))
        query = query.where(feedback.c.deployment_id == deployment_id, feedback.c.time_ns >= since_ns).group_by(feedback.c.version_id)
        return {
            version_id: Outcomes(count=count, sum=total, squares=squares)
            for version_id, count, total, squares in self._connection.execute(query)
        }

    def expire(self, before_ns: int) -> int:
        """Deletes what was reported before a time; how much that was."""
        return self._connection.execute(delete(feedback).where(feedback.c.time_ns < before_ns)).rowcount
