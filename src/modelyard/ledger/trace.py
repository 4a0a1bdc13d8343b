"""One call by its request id: from the usage record back to the data that its model learned from."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.usage import Trace, UsageRecord
from modelyard.ledger.combined import combined_versions
from modelyard.ledger.sums import MINUTE_NS
from modelyard.store.database import Session, Store
from modelyard.store.segments import ARCHIVE_SUFFIX, RECORD_SIZE, SUFFIX, is_whole, usage_record
from modelyard.store.segments import DTYPE as RECORD
from modelyard.store.usage_segments import SegmentSpan

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = 8
"""Bytes of a request id that all of one worker's have in common; the rest counts up."""
_MOST_SPANS = 64


def spans_of(segment: str, request_ids: NDArray[np.void]) -> list[SegmentSpan]:
    """Which request ids a segment holds: what they begin with, and between which numbers they go on."""
    if not len(request_ids):
        return []
    parts = np.frombuffer(request_ids.tobytes(), np.dtype([("prefix", f"V{_PREFIX}"), ("number", ">u8")]))
    prefixes, place = np.unique(parts["prefix"].view(">u8"), return_inverse=True)
    # Ids that are not of our own making have nothing in common; then the segment itself is looked through.
    if len(prefixes) > _MOST_SPANS or int(parts["number"].max()) >= 1 << 63:
        return [SegmentSpan(segment=segment, prefix="", first=0, last=0)]
    found = []
    for at, prefix in enumerate(prefixes):
        numbers = parts["number"][place.reshape(-1) == at]
        found.append(SegmentSpan(segment=segment, prefix=f"{int(prefix):016x}", first=int(numbers.min()), last=int(numbers.max())))
    return found


class Tracer:
    """Finds calls in the journal of one home, folded or not, archived or not."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder

    def trace(self, workspace_id: int, request_id: str, *, may: frozenset[str] = frozenset()) -> Trace:
        """The call with this request id, where it is the workspace's own and of a deployment among ``may`` (empty for all).

        Raises InvalidRequest for what is no id of ours, NotFound.
        """
        wanted = request_id.strip().lower().replace("-", "")
        if not _REQUEST_ID.fullmatch(wanted):
            raise InvalidRequest(
                f"{request_id[:200]!r} is no request id of this platform; give the 32 hexadecimal digits that the call's answer said in "
                "x-modelyard-request-id, or in x-request-id when the call sent none of its own."
            )
        with self._store.read() as session:
            record = self._find(session, bytes.fromhex(wanted))
            if record is not None and record.workspace_id == workspace_id:
                found = _told(session, record)
                if not may or found.deployment in may:
                    return found
        raise NotFound(
            f"There is no record of a call {wanted}: it was refused before it was admitted, is not of this workspace, "
            "or older than MODELYARD_USAGE_RETENTION_SECONDS."
        )

    def find(self, request_ids: Sequence[bytes]) -> dict[bytes, UsageRecord]:
        """The records of those of these calls that are known, of whatever workspace."""
        found: dict[bytes, UsageRecord] = {}
        if not request_ids:
            return found
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), reverse=True):
            archived = self._folder / "archive" / f"{path.name.removesuffix(SUFFIX)}{ARCHIVE_SUFFIX}"
            found |= _look_for(_content(path, archived), request_ids)
        with self._store.read() as session:
            for request_id in set(request_ids) - found.keys():
                record = self._find(session, request_id)
                if record is not None:
                    found[request_id] = record
        return found

    def _find(self, session: Session, request_id: bytes) -> UsageRecord | None:
        for data in self._candidates(session, request_id):
            record = _look(data, request_id)
            if record is not None:
                return record
        return None

    def _candidates(self, session: Session, request_id: bytes) -> Iterator[bytes]:
        archive = self._folder / "archive"
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), reverse=True):
            # It may be archived while we look at others.
            yield _content(path, archive / f"{path.name.removesuffix(SUFFIX)}{ARCHIVE_SUFFIX}")
        for name in session.usage_segments.holding(request_id[:_PREFIX].hex(), int.from_bytes(request_id[_PREFIX:], "big")):
            yield _content(archive / f"{name}{ARCHIVE_SUFFIX}")


def _content(*paths: Path) -> bytes:
    """The bytes of the first of these segments that exists."""
    for path in paths:
        try:
            return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except FileNotFoundError:
            continue
    return b""


def _look(data: bytes, request_id: bytes) -> UsageRecord | None:
    """The sound record with this id in a segment's bytes."""
    words = np.frombuffer(data, np.uint64, len(data) // RECORD_SIZE * RECORD_SIZE // 8).reshape(-1, RECORD_SIZE // 8)
    first, second = np.frombuffer(request_id, np.uint64)
    for number in np.flatnonzero((words[:, 0] == first) & (words[:, 1] == second) & (words[:, -1] != 0)):
        raw = data[number * RECORD_SIZE : (number + 1) * RECORD_SIZE]
        if is_whole(raw, int(number)):
            return usage_record(np.frombuffer(raw, RECORD)[0])
    return None


def _look_for(data: bytes, request_ids: Sequence[bytes]) -> dict[bytes, UsageRecord]:
    """The sound records with these ids in a segment's bytes."""
    rows = np.frombuffer(data, RECORD, len(data) // RECORD_SIZE)
    wanted = np.frombuffer(b"".join(request_ids), np.uint64).reshape(-1, 2)
    heads = np.frombuffer(data, np.uint64, len(rows) * RECORD_SIZE // 8).reshape(-1, RECORD_SIZE // 8)
    # By the part that counts up; prefixes are compared with those few that are left.
    found: dict[bytes, UsageRecord] = {}
    asked = set(request_ids)
    for number in map(int, np.flatnonzero(np.isin(heads[:, 1], wanted[:, 1]))):
        raw = data[number * RECORD_SIZE : (number + 1) * RECORD_SIZE]
        if raw[:16] in asked and is_whole(raw, number):
            found[raw[:16]] = usage_record(rows[number])
    return found


def _told(session: Session, record: UsageRecord) -> Trace:
    names = session.usage.names
    key, label = names("key_id", [record.key_id]).get(record.key_id, _gone(record.key_id))
    deployment, _ = names("deployment_id", [record.deployment_id]).get(record.deployment_id, _gone(record.deployment_id))
    deployment = session.shares.names(record.workspace_id).get(record.deployment_id, deployment)
    same = {name: getattr(record, name) for name in Trace.__struct_fields__ if name in UsageRecord.__struct_fields__}
    found = Trace(
        **same
        | {
            "request_id": record.request_id.hex(),
            "protocol": record.protocol.name.lower(),
            "kind": record.kind.name.lower(),
            "key": key,
            "key_label": label,
            "deployment": deployment,
            "version": _gone(record.version_id)[0],
            "energy_uj": _energy(session, record),
        }
    )
    return _with_lineage(session, found, record)


def _energy(session: Session, record: UsageRecord) -> int | None:
    """Its part of what the calls of its deployment took in its minute."""
    minute = record.time_ns // MINUTE_NS
    totals = session.usage.totals(record.workspace_id, since_minute=minute, until_minute=minute + 1, by=("deployment_id",))
    for used in totals:
        if used.deployment_id == record.deployment_id and used.energy_uj and used.compute_us:
            return round(used.energy_uj * record.compute_us / used.compute_us)
    return None


def _gone(identity: int) -> tuple[str, str]:
    return (f"#{identity}" if identity else "", "")


def _with_lineage(session: Session, found: Trace, record: UsageRecord) -> Trace:
    version = session.versions.by_id(record.version_id)
    if version is None:
        return found
    if version.workspace_id != record.workspace_id:
        # It was shared: its caller may know what answered, and not what that was made of.
        return msgspec.structs.replace(found, version=version.reference, version_digest=version.artifact.digest)
    lineage = version.lineage
    job = session.jobs.get(record.workspace_id, lineage.job_id) if lineage.job_id else None
    dataset = session.datasets.by_digest(record.workspace_id, lineage.dataset_digest) if lineage.dataset_digest else None
    return msgspec.structs.replace(
        found,
        version=version.reference,
        combined=combined_versions(session, record.workspace_id, found.deployment, version.reference, record.time_ns),
        version_digest=version.artifact.digest,
        job=lineage.job_id,
        job_kind=job.kind if job else "",
        dataset=f"{dataset.name}@{dataset.number}" if dataset else "",
        dataset_digest=lineage.dataset_digest,
        source=lineage.source,
    )
