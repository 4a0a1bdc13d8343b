import contextlib
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.errors import Unavailable
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate import journal as module
from modelyard.gate.journal import Journal
from modelyard.store.segments import JournalReader

BOOT = bytes(range(16))
CALLER = (b"r" * 16, 1, 2, 3)


def append(journal, rows=1, status=200):
    journal.append(CALLER, status, Cost(rows=rows), ProtocolId.OTHER, CallKind.INFER, 0, 0)


def settle_threads(journal):
    if journal._maker is not None:
        journal._maker.join()


def test_records_go_on_over_segments_in_order(tmp_path):
    journal = Journal(tmp_path, BOOT, 3, segment_bytes=128 * 17)
    for number in range(100):
        append(journal, rows=number)
        settle_threads(journal)
    assert [record.rows for record in JournalReader(tmp_path).records()] == list(range(100))
    headers = [segment.header for segment in JournalReader(tmp_path).segments()]
    assert [header.segment for header in headers] == list(range(len(headers)))
    assert {(header.boot, header.slot, header.capacity) for header in headers} == {(BOOT, 3, 16)}
    journal.close()


def test_the_next_segment_is_ready_before_the_current_one_is_full(tmp_path):
    journal = Journal(tmp_path, BOOT, 0, segment_bytes=128 * 17)
    for _ in range(9):
        append(journal)
    settle_threads(journal)
    assert len(list(tmp_path.glob("*.journal"))) == 2
    journal.close()


def test_disk_space_is_taken_when_a_segment_is_made(tmp_path):
    journal = Journal(tmp_path, BOOT, 0, segment_bytes=1 << 16)
    (path,) = tmp_path.glob("*.journal")
    assert path.stat().st_blocks * 512 >= 1 << 16
    journal.close()


def test_a_restarted_worker_never_touches_the_segments_of_the_one_before(tmp_path):
    first = Journal(tmp_path, BOOT, 0)
    append(first, rows=1)
    first.close()
    second = Journal(tmp_path, BOOT, 0)
    append(second, rows=2)
    assert sorted(record.rows for record in JournalReader(tmp_path).records()) == [1, 2]
    second.close()


def test_a_reader_knows_whether_the_writer_lives(tmp_path):
    journal = Journal(tmp_path, BOOT, 0)
    append(journal)
    (segment,) = JournalReader(tmp_path).segments()
    assert not segment.read().ended
    journal.close()
    assert segment.read().ended


def full_disk(descriptor, offset, size):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_refuses_calls_before_they_are_served_and_recovers(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    journal = Journal(tmp_path, BOOT, 0, segment_bytes=128 * 33)
    allocate = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    written = 0
    while journal.available:
        append(journal)
        settle_threads(journal)
        written += 1
    assert written < 32
    with pytest.raises(Unavailable, match="No space left on device"):
        journal.recover()
    while written < 32:  # calls that were admitted before still find room
        append(journal)
        written += 1
    with pytest.raises(Unavailable, match="No space left on device"):
        append(journal)
    assert len(JournalReader(tmp_path).records()) == 32
    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(Unavailable):
        journal.recover()  # tried a moment ago
    now[0] += 2.0
    with contextlib.suppress(Unavailable):
        journal.recover()  # refuses until the thread that it starts has made room, which may be at once
    settle_threads(journal)
    journal.recover()
    assert journal.available
    append(journal)
    assert len(JournalReader(tmp_path).records()) == 33
    assert not list(tmp_path.glob("*.tmp"))
    journal.close()


def test_a_worker_does_not_start_without_room_for_its_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    with pytest.raises(Unavailable, match="Free disk space"):
        Journal(tmp_path, BOOT, 0)


def test_without_fallocate_zeros_are_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    journal = Journal(tmp_path, BOOT, 0, segment_bytes=3 << 20)
    (path,) = tmp_path.glob("*.journal")
    assert path.stat().st_blocks * 512 >= 3 << 20
    append(journal)
    assert len(JournalReader(tmp_path).records()) == 1
    journal.close()


def test_a_closed_journal_refuses(tmp_path):
    journal = Journal(tmp_path, BOOT, 0)
    journal.close()
    journal.close()
    with pytest.raises(Unavailable):
        append(journal)
    with pytest.raises(Unavailable):
        journal.recover()


def test_a_boot_id_has_sixteen_bytes(tmp_path):
    with pytest.raises(ValueError, match="16 bytes"):
        Journal(tmp_path, b"short", 0)


COUNT = st.integers(-(2**70), 2**70)


@given(rows=COUNT, tokens=COUNT, compute=COUNT, sent=COUNT, status=COUNT)
def test_absurd_numbers_are_brought_into_range_and_never_lost(tmp_path_factory, rows, tokens, compute, sent, status):
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, BOOT, 0, segment_bytes=4096, clock=ManualClock())
    journal.append(CALLER, status, Cost(rows=rows, tokens_in=tokens, compute_us=compute), ProtocolId.OTHER, CallKind.OTHER, sent, 7)
    (record,) = JournalReader(folder).records()
    journal.close()
    most = 2**32 - 1
    assert record.rows == min(max(rows, 0), most)
    assert record.tokens_in == min(max(tokens, 0), most)
    assert record.compute_us == min(max(compute, 0), most)
    assert record.bytes_in == min(max(sent, 0), 2**64 - 1)
    assert record.status == min(max(status, 0), 65535)
    assert record.bytes_out == 7
