"""Asynchronous predictions: what was asked, how far it is, and whether its webhook was told."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, NotFound
from modelyard.store.rows import decode
from modelyard.store.tables import predictions


class PredictionStatus(StrEnum):
    """Where an asynchronous prediction stands."""

    QUEUED = "queued"  # accepted, its request is stored
    SUCCEEDED = "succeeded"  # its result is stored
    FAILED = "failed"  # ended badly; ``error`` says why


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One asynchronous prediction; request and result are files of the home, by its id."""

    id: str
    workspace_id: int
    key_id: int
    deployment: str
    status: PredictionStatus = PredictionStatus.QUEUED
    webhook: str = ""
    """Where to tell of the end; empty for nowhere."""
    error: str = ""
    detail: dict[str, Any] = {}
    attempts: int = 0
    """How often the webhook was tried."""
    created_ns: int = 0
    finished_ns: int = 0
    expires_ns: int = 0
    """When request and result may be deleted."""
    next_ns: int = 0
    """When the webhook is to be tried next."""
    delivered_ns: int = 0
    """When the webhook took the news, or was given up."""


Predictions = list[Prediction]


class PredictionsTable:
    """Rows of ``predictions``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, prediction: Prediction) -> Prediction:
        """Stores a prediction; the same with its time.

        Raises AlreadyExists when its id is in use.
        """
        if self._connection.execute(select(predictions.c.id).where(predictions.c.id == prediction.id)).first() is not None:
            raise AlreadyExists(f"There is a prediction {prediction.id!r} already.")
        made = msgspec.structs.replace(prediction, created_ns=prediction.created_ns or self._clock.time_ns())
        self._connection.execute(insert(predictions).values(**msgspec.structs.asdict(made)))
        return made

    def get(self, workspace_id: int, prediction_id: str) -> Prediction | None:
        found = self._load(select(predictions).where(predictions.c.workspace_id == workspace_id, predictions.c.id == prediction_id))
        return found[0] if found else None

    def list(self, workspace_id: int, *, limit: int = 100) -> Predictions:
        """Predictions, newest first."""
        query = select(predictions).where(predictions.c.workspace_id == workspace_id)
        return self._load(query.order_by(predictions.c.created_ns.desc(), predictions.c.id).limit(limit))

    def queued(self, limit: int = 100) -> Predictions:
        """Predictions of every workspace that wait, oldest first."""
        query = select(predictions).where(predictions.c.status == PredictionStatus.QUEUED.value)
        return self._load(query.order_by(predictions.c.created_ns, predictions.c.id).limit(limit))

    def finish(self, prediction_id: str, status: PredictionStatus, error: str = "") -> bool:
        """Ends a prediction that waits; False when it had ended before, which then stays as it is."""
        now = self._clock.time_ns()
        waiting = (predictions.c.id == prediction_id) & (predictions.c.status == PredictionStatus.QUEUED.value)
        changed = self._connection.execute(
            update(predictions).where(waiting).values(status=status.value, error=error, finished_ns=now, next_ns=now)
        )
        return bool(changed.rowcount)

    def due(self, now_ns: int, limit: int = 100) -> Predictions:
        """Ended predictions of every workspace whose webhook is to be told now, longest due first."""
        query = select(predictions).where(
            predictions.c.status != PredictionStatus.QUEUED.value,
            predictions.c.webhook != "",
            predictions.c.delivered_ns == 0,
            predictions.c.next_ns <= now_ns,
        )
        return self._load(query.order_by(predictions.c.next_ns, predictions.c.id).limit(limit))

    def tried(self, prediction_id: str, *, next_ns: int = 0) -> None:
        """Notes a try of the webhook: the next is due at ``next_ns``; 0 when none is, because it took the news or is given up.

        Raises NotFound.
        """
        values: dict[str, Any] = {"attempts": predictions.c.attempts + 1, "next_ns": next_ns}
        if not next_ns:
            values["delivered_ns"] = self._clock.time_ns()
        changed = self._connection.execute(update(predictions).where(predictions.c.id == prediction_id).values(**values))
        if not changed.rowcount:
            raise NotFound(f"There is no prediction {prediction_id!r}.")

    def expired(self, now_ns: int, limit: int = 100) -> Predictions:
        """Predictions of every workspace whose time is over, oldest first."""
        query = select(predictions).where(predictions.c.expires_ns > 0, predictions.c.expires_ns <= now_ns)
        return self._load(query.order_by(predictions.c.expires_ns, predictions.c.id).limit(limit))

    def remove(self, ids: Iterable[str]) -> None:
        self._connection.execute(delete(predictions).where(predictions.c.id.in_(list(ids))))

    def _load(self, query: Select[Any]) -> Predictions:
        return [decode(row, Prediction) for row in self._connection.execute(query).mappings()]
