"""Blobs that nothing names any more."""

from __future__ import annotations

import re

import msgspec

from modelyard.store.blobs import Blobs
from modelyard.store.database import Session, Store

_BATCH = 50
"""Removals in one write transaction, which keeps other writers waiting."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class GarbageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection did."""

    removed: int
    freed_bytes: int
    kept: int
    """Blobs that are in use."""
    young: int
    """Blobs that nothing named when they were listed, but that were put or named too recently to go."""


def collect_garbage(store: Store, blobs: Blobs, min_age_seconds: float) -> GarbageReport:
    """Removes blobs that no row names and that were not put within ``min_age_seconds``.

    Each removal looks again inside a write transaction, which excludes whoever is about to name the blob, and under the blobs'
    own lock, which excludes whoever is putting it. A version is stored in a write transaction that looks for its blobs, so
    none can lose its files whatever the age is; other rows (datasets, jobs) rely on ``min_age_seconds`` between the upload and them.
    """
    with store.read() as session:
        used = used_digests(session)
    removed = freed = kept = young = 0
    candidates: list[str] = []
    for blob in blobs.list():
        if blob.digest in used:
            kept += 1
        elif blob.age_seconds < min_age_seconds:
            young += 1
        else:
            candidates.append(blob.digest)
    for at in range(0, len(candidates), _BATCH):
        for size in _remove(store, blobs, candidates[at : at + _BATCH], min_age_seconds):
            removed += size is not None
            young += size is None
            freed += size or 0
    blobs.sweep(max(min_age_seconds, 3600.0))
    return GarbageReport(removed=removed, freed_bytes=freed, kept=kept, young=young)


def used_digests(session: Session) -> set[str]:
    """Digests that rows name: files of versions, datasets, and whatever looks like one in a job that has not ended."""
    used = session.versions.artifact_digests() | session.datasets.digests()
    for job in session.jobs.unended():
        used.update(_DIGEST.findall(msgspec.json.encode([job.spec, job.result]).decode()))
    return used


def _remove(store: Store, blobs: Blobs, digests: list[str], min_age_seconds: float) -> list[int | None]:
    with store.write() as session:
        used = used_digests(session)
        return [None if digest in used else blobs.delete_older(digest, min_age_seconds) for digest in digests]
