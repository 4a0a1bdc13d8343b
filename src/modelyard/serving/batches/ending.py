"""The end of a batch: every line is told once, good ones in the file of outputs, the others in that of errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from modelyard.core.clock import Clock
from modelyard.serving.batches.files import FILE_PREFIX, Batch, BatchFiles, Counts, Ended, Fault, StoredFile
from modelyard.serving.batches.lines import Answer, Kept, kept_answers, numbered, read_line

UNANSWERED = {
    "expired": ("batch_expired", "This line could not be answered before the batch's completion window ended."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this line was answered."),
    "failed": ("batch_failed", "The batch failed before this line was answered."),
}


def finish(files: BatchFiles, batch: Batch, status: str, *, clock: Clock, retention_seconds: float, fault: Fault | None = None) -> Ended:
    """Tells all lines and ends a batch. Whoever calls holds its turn; a second time gives the same.

    A line without an answer is told as what ``status`` makes of it; ``completed`` leaves none.
    """
    ended = files.ended(batch)
    if ended is not None:
        return ended
    finalizing = clock.time_ns()
    if files.started(batch) is None:  # nobody knows whether its lines are good
        return files.end(batch, Ended(status=status, time_ns=finalizing, faults=(fault,) if fault is not None else ()))
    kept, _ = kept_answers(files.answers(batch))
    source = files.data(batch.workspace_id, batch.file_id)
    good = {at for at, one in kept.items() if one.good}
    total = sum(1 for _ in numbered(source)) if source.is_file() else len(kept)
    names: dict[bool, str] = {}
    for wanted in (True, False):
        stored = StoredFile(
            # The same each time, so that what a killed process left half-done is done over.
            id=FILE_PREFIX + batch.id[6:-1] + ("a" if wanted else "e"),
            workspace_id=batch.workspace_id,
            key_id=batch.key_id,
            name=f"{batch.id}_{'output' if wanted else 'error'}.jsonl",
            purpose="batch_output",
            size=0,
            created_ns=finalizing,
            expires_ns=finalizing + int(retention_seconds * 1e9),
        )
        place = files.data(batch.workspace_id, stored.id)
        size = _write(place, _told(files, batch, kept, status, wanted=wanted))
        if size:
            files.seal_file(msgspec.structs.replace(stored, size=size))
            names[wanted] = stored.id
        else:
            place.unlink()
    ended = Ended(
        status=status,
        time_ns=clock.time_ns(),
        finalizing_ns=finalizing,
        counts=Counts(total=total, completed=len(good), failed=total - len(good)),
        output_id=names.get(True, ""),
        error_id=names.get(False, ""),
        faults=(fault,) if fault is not None else (),
    )
    return files.end(batch, ended)


def refuse(files: BatchFiles, batch: Batch, faults: list[Fault], clock: Clock) -> Ended:
    """Ends a batch of which no line was asked."""
    return files.end(batch, Ended(status="failed", time_ns=clock.time_ns(), faults=tuple(faults)))


def _told(files: BatchFiles, batch: Batch, kept: Mapping[int, Kept], status: str, *, wanted: bool) -> Iterator[bytes]:
    """Lines of one of the two files, in the order of the input."""
    source, answers = files.data(batch.workspace_id, batch.file_id), files.answers(batch)
    if answers.is_file():
        with answers.open("rb") as file:
            for at in sorted(at for at, one in kept.items() if one.good is wanted):
                file.seek(kept[at].offset)
                yield msgspec.json.decode(file.read(kept[at].size), type=Answer).told(batch.id)
    if not wanted and status in UNANSWERED and source.is_file():
        code, message = UNANSWERED[status]
        for at, raw in numbered(source):
            if at not in kept:
                yield Answer(at=at, custom_id=read_line(raw).custom_id, code=code, message=message).told(batch.id)


def _write(path: Path, pieces: Iterator[bytes]) -> int:
    size = 0
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return size
