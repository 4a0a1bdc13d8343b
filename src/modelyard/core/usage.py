"""One call's usage record, as the journal keeps it and the ledger folds it."""

from __future__ import annotations

from enum import IntEnum, StrEnum

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
    SAGEMAKER = 8
    VERTEX = 9
    ANTHROPIC = 10
    TEXT_EMBEDDINGS = 11


class CallKind(IntEnum):
    """What a call did, by the number in a journal record; numbers are never reused."""

    OTHER = 0
    INFER = 1
    METADATA = 2
    GENERATE = 3
    EMBED = 4
    EXPLAIN = 5
    SHADOW = 16
    """A copy that the platform made: nobody's key asked for it, nobody pays for it."""


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


class UsageStep(StrEnum):
    """Into which periods usage is added up; all in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    ALL = "all"  # the whole time asked for


USAGE_GROUPS = ("deployment", "key", "version", "protocol", "kind", "status")
"""By what usage can be split."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Sums over one period. What was not asked to be split is empty."""

    start_ns: int
    """When the period begins; 0 for the beginning of the ledger."""
    workspace: str = ""
    """Whose calls they are; said only of what others called."""
    deployment: str = ""
    """Its name; ``#7`` for one that is gone; ``-`` for calls that name none."""
    key: str = ""
    """The key's public id."""
    key_label: str = ""
    version: str = ""
    """``model@number``."""
    protocol: str = ""
    kind: str = ""
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
    energy_uj: int | None = None
    """Microjoules that computing took; None where the machine does not report any."""


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call, and where its answer came from: key, deployment, version, the job that made it and the data it learned from."""

    request_id: str
    time_ns: int
    """When it was answered."""
    status: int
    protocol: str
    kind: str
    key: str = ""
    key_label: str = ""
    deployment: str = ""
    version: str = ""
    version_digest: str = ""
    combined: tuple[str, ...] = ()
    """Every version that the deployment combined then, where it combines several: of a graph all that it declares, wherever the rows or
    chance led; otherwise those that stood before and after the target, with it."""
    job: int = 0
    """The job that trained the version; 0 for one that was brought."""
    job_kind: str = ""
    dataset: str = ""
    """``name@number`` of the data set it was trained on."""
    dataset_digest: str = ""
    source: str = ""
    """``train``, ``push`` or the name of an importer."""
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    queue_us: int = 0
    compute_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    cached: bool = False
    energy_uj: int | None = None
    """As that of the calls of its minute; None where the machine does not report any."""
