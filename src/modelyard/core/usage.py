"""One call's usage record, as the journal keeps it and the ledger folds it."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class ProtocolId(IntEnum):
    """Protocols by the number in a journal record; numbers are never reused."""

    OTHER = 0
    OPEN_INFERENCE_REST = 1
    OPEN_INFERENCE_GRPC = 2
    TENSORFLOW_REST = 3
    TENSORFLOW_GRPC = 4
    RECORDS = 5
    OPENAI = 6
    MLFLOW = 7


class CallKind(IntEnum):
    """What a call did, by the number in a journal record; numbers are never reused."""

    OTHER = 0
    INFER = 1
    METADATA = 2
    GENERATE = 3
    EMBED = 4
    EXPLAIN = 5


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one call used. Ids are database ids; 0 where the call named none."""

    time_ns: int
    request_id: bytes
    """16 bytes, made by us, unique."""
    workspace_id: int
    key_id: int
    deployment_id: int
    version_id: int
    protocol: ProtocolId
    kind: CallKind
    status: int
    """The HTTP status, or its equivalent."""
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    queue_us: int = 0
    compute_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    cached: bool = False
