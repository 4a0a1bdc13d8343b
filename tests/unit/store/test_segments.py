import struct

import pytest

from modelyard.core.cost import Cost
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.store.segments import DTYPE, FIELDS, RECORD_SIZE, SEAL, JournalReader, SegmentHeader

BOOT = b"b" * 16


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path, BOOT, 0, segment_bytes=RECORD_SIZE * 33)
    yield journal
    journal.close()


def append(journal, *rows):
    for number in rows:
        journal.append((b"r" * 16, 1, 2, 3), 200, Cost(rows=number), ProtocolId.OTHER, CallKind.INFER, 0, 0)


@pytest.fixture
def segment(tmp_path, journal):
    append(journal, 1, 2, 3, 4)
    (segment,) = JournalReader(tmp_path).segments()
    return segment


def change(segment, number, at, content):
    with segment.path.open("r+b") as file:
        file.seek(number * RECORD_SIZE + at)
        file.write(content)


def rows(read):
    return [record.rows for record in read.usage()]


def test_both_descriptions_of_a_record_agree():
    assert FIELDS.size + SEAL.size == RECORD_SIZE == DTYPE.itemsize
    values = (b"0123456789abcdef", *range(1, 19))
    packed = FIELDS.pack(*values) + SEAL.pack(98, 99)
    row = next(iter(__import__("numpy").frombuffer(packed, DTYPE)))
    assert [bytes(row["request_id"]), *(int(row[name]) for name in DTYPE.names[1:])] == [*values, 98, 99]


def test_reading_goes_on_where_it_ended(segment, journal):
    first = segment.read()
    assert (rows(first), first.position, first.ended) == ([1, 2, 3, 4], 4, False)
    append(journal, 5)
    assert rows(segment.read(first.position)) == [5]
    assert segment.read(5).position == 5


def test_a_full_segment_has_ended_while_its_writer_lives(segment, journal):
    append(journal, *range(28))
    assert segment.read().ended


@pytest.mark.parametrize("at", [0, 20, 60, 111, 112, 120, 127])
def test_a_damaged_record_among_whole_ones_is_passed_and_told(segment, at):
    change(segment, 2, at, b"\xee")
    read = segment.read()
    assert (rows(read), read.position, list(read.damaged)) == ([1, 3, 4], 4, [2])
    assert len(read.damaged[2]) == RECORD_SIZE


def test_a_record_that_was_zeroed_among_whole_ones_is_damaged_too(segment):
    change(segment, 2, 0, bytes(RECORD_SIZE))
    assert list(segment.read().damaged) == [2]


def test_the_last_record_of_a_living_writer_may_be_in_the_making(segment):
    change(segment, 4, 30, b"\xee")
    read = segment.read()
    assert (rows(read), read.position, read.damaged) == ([1, 2, 3], 3, {})


def test_a_torn_last_record_of_a_dead_writer_is_told(segment, journal):
    journal.close()
    change(segment, 4, 30, b"\xee")
    read = segment.read()
    assert (rows(read), read.position, list(read.damaged), read.ended) == ([1, 2, 3], 4, [4], True)


def test_a_record_whose_seal_was_not_written_is_no_record(segment, journal):
    journal.close()
    change(segment, 4, FIELDS.size, bytes(8))
    read = segment.read()
    assert (rows(read), read.position, read.damaged) == ([1, 2, 3], 3, {})


def test_a_record_of_another_place_is_not_taken(segment):
    with segment.path.open("rb") as file:
        other = file.read(RECORD_SIZE * 2)[RECORD_SIZE:]
    change(segment, 2, 0, other)
    assert list(segment.read().damaged) == [2]


def test_a_truncated_segment_gives_what_is_left(segment, journal):
    journal.close()
    with segment.path.open("r+b") as file:
        file.truncate(RECORD_SIZE * 3 + 50)
    read = segment.read()
    assert (rows(read), read.position) == ([1, 2], 2)


@pytest.mark.parametrize("content", [b"", b"MYJRNL", b"x" * 200])
def test_files_without_a_sound_header_are_no_segments(tmp_path, content):
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    assert JournalReader(tmp_path).segments() == []
    assert JournalReader(tmp_path).unreadable() == [path]


def test_every_flipped_bit_of_a_header_is_noticed():
    header = SegmentHeader(boot=BOOT, slot=1, segment=2, capacity=3, created_ns=4)
    packed = header.encode()
    assert SegmentHeader.decode(packed) == header
    for at in range(struct.calcsize("<8sII16sQQQQI")):
        assert SegmentHeader.decode(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]) is None


def test_numbers_of_a_newer_version_read_as_other(segment, journal):
    journal.append((b"r" * 16, 1, 2, 3), 200, Cost(), 250, 251, 0, 0)
    record = segment.read().usage()[-1]
    assert (record.protocol, record.kind) == (ProtocolId.OTHER, CallKind.OTHER)
