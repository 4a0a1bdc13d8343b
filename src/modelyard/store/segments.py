"""Usage segments: the 128 bytes of a record, the header before them, and reading both. ``gate/journal.py`` writes them.

A record is its fields, then the number of the record in its segment counted from 1, then a CRC-32 of all before it and a mark.
The last eight bytes are written last: while they are zero there is no record, and a torn one fails its checksum.
All numbers are little-endian. The writer holds an exclusive lock (flock) on its segment from before the file gets its name until
it has filled it or died, which is how a reader knows that nothing more will come.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelyard.core.usage import CallKind, ProtocolId, UsageRecord

RECORD_SIZE: Final = 128
SUFFIX = ".journal"
ARCHIVE_SUFFIX = SUFFIX + ".gz"
FIELDS = struct.Struct("<16sQQQQQIIIIIIQQHBBB11xQ")
"""Request id, time, workspace, key, deployment, version, rows, tokens in, out, cached, queue µs, compute µs, bytes in, bytes out,
status, protocol, kind, flags; 11 bytes to spare; number in the segment."""
FIELDS_SIZE: Final = 120
SEAL = struct.Struct("<II")
MARK: Final = 0x4452594D  # "MYRD"
CACHED: Final = 1

DTYPE = np.dtype(
    {
        "names": [
            *("request_id", "time_ns", "workspace_id", "key_id", "deployment_id", "version_id", "rows", "tokens_in", "tokens_out"),
            *("tokens_cached", "queue_us", "compute_us", "bytes_in", "bytes_out", "status", "protocol", "kind", "flags"),
            *("number", "crc", "mark"),
        ],
        "formats": [
            *("V16", "<u8", "<u8", "<u8", "<u8", "<u8", "<u4", "<u4", "<u4"),
            *("<u4", "<u4", "<u4", "<u8", "<u8", "<u2", "u1", "u1", "u1"),
            *("<u8", "<u4", "<u4"),
        ],
        "offsets": [0, 16, 24, 32, 40, 48, 56, 60, 64, 68, 72, 76, 80, 88, 96, 98, 99, 100, 112, 120, 124],
        "itemsize": RECORD_SIZE,
    }
)
"""The same layout for reading many at once."""

_NUMBERS = tuple(name for name in DTYPE.names or () if name in UsageRecord.__struct_fields__ and name != "request_id")
_CHUNK = 1 << 18

_HEADER = struct.Struct("<8sII16sQQQQ")
_MAGIC = b"MYJRNL\r\n"
_FORMAT = 1
_CRC = struct.Struct("<I")


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of whose journal a file is; takes the place of the first record."""

    boot: bytes
    """16 bytes, new with each start of the platform."""
    slot: int
    """The worker's place."""
    segment: int
    """Counts up within boot and slot, over restarts of the worker too."""
    capacity: int
    """Records that fit."""
    created_ns: int

    def encode(self) -> bytes:
        head = _HEADER.pack(_MAGIC, _FORMAT, RECORD_SIZE, self.boot, self.slot, self.segment, self.capacity, self.created_ns)
        return (head + _CRC.pack(zlib.crc32(head))).ljust(RECORD_SIZE, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> SegmentHeader | None:
        """The header in the first bytes of a file; None when they are none, or damaged."""
        if len(data) < RECORD_SIZE or not data.startswith(_MAGIC):
            return None
        if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
            return None
        _, version, size, boot, slot, segment, capacity, created_ns = _HEADER.unpack_from(data)
        if version != _FORMAT or size != RECORD_SIZE:
            return None
        return cls(boot=boot, slot=slot, segment=segment, capacity=capacity, created_ns=created_ns)


class SegmentRead(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment holds beyond a position."""

    records: NDArray[np.void]
    """Whole records, as ``DTYPE``, in order."""
    position: int
    """Records passed since the segment's beginning: where to read on."""
    damaged: dict[int, bytes] = {}
    """Records that were passed although their checksum is wrong: number in the segment → the 128 bytes."""
    ended: bool = False
    """Nothing will be added: the segment is full, or its writer is gone."""

    def usage(self) -> list[UsageRecord]:
        """The records as core types."""
        return [usage_record(row) for row in self.records]


class SegmentFile:
    """A segment on disk, read while its writer may still append, from another process."""

    def __init__(self, path: Path, header: SegmentHeader) -> None:
        self.path, self.header = path, header

    @property
    def name(self) -> str:
        """Never used twice, not even by another boot."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def boot(self) -> str:
        return self.header.boot.hex()

    def read(self, position: int = 0) -> SegmentRead:
        """Records after the first ``position``. A record that is just being written is left for the next time."""
        with self.path.open("rb") as file:
            # Asked first: whatever a writer that is gone has written is then in what is read.
            abandoned = is_abandoned(file.fileno())
            file.seek((position + 1) * RECORD_SIZE)
            data = self._rest(file, position, abandoned)
            good, damaged = _sort_out(file, data, position, abandoned)
        count = len(data) // RECORD_SIZE
        records = np.frombuffer(data, DTYPE)[good] if good.size else np.empty(0, DTYPE)
        end = position + count
        return SegmentRead(records=records, position=end, damaged=damaged, ended=abandoned or end >= self.header.capacity)

    def request_ids(self, position: int) -> NDArray[np.void]:
        """The request ids of the first ``position`` records, damaged ones left out by their mark only."""
        rows = np.frombuffer(self.path.read_bytes()[RECORD_SIZE : (position + 1) * RECORD_SIZE], DTYPE)
        return np.asarray(rows["request_id"][rows["mark"] == MARK])

    def _rest(self, file: BinaryIO, position: int, abandoned: bool) -> bytearray:
        """The bytes of all records up to the last sealed one."""
        left = max(0, self.header.capacity - position) * RECORD_SIZE
        data = bytearray()
        while len(data) < left:
            chunk = file.read(min(_CHUNK, left - len(data)))
            data += chunk[: len(chunk) // RECORD_SIZE * RECORD_SIZE]
            if len(chunk) < RECORD_SIZE or not (abandoned or _sealed(chunk).any()):
                break
        sealed = np.flatnonzero(_sealed(data))
        del data[(int(sealed[-1]) + 1) * RECORD_SIZE if sealed.size else 0 :]
        return data


class JournalReader:
    """The segments in a folder, of every boot and worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def segments(self) -> list[SegmentFile]:
        """Segments with a sound header, by name."""
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            header = self._header(path)
            if header is not None:
                found.append(SegmentFile(path, header))
        return found

    def unreadable(self) -> list[Path]:
        """Files that are called segments but whose header is damaged."""
        return [path for path in sorted(self._folder.glob(f"*{SUFFIX}")) if path.exists() and self._header(path) is None]

    def records(self) -> list[UsageRecord]:
        """Every whole record of every segment."""
        return [record for segment in self.segments() for record in segment.read().usage()]

    @staticmethod
    def _header(path: Path) -> SegmentHeader | None:
        try:
            with path.open("rb") as file:
                return SegmentHeader.decode(file.read(RECORD_SIZE))
        except FileNotFoundError:  # archived meanwhile
            return None


def usage_record(row: np.void) -> UsageRecord:
    """A record read with ``DTYPE`` as the core type. Numbers of a newer version's protocols and kinds become OTHER."""
    numbers = {name: int(row[name]) for name in _NUMBERS}
    protocol, kind = numbers.pop("protocol"), numbers.pop("kind")
    return UsageRecord(
        request_id=bytes(row["request_id"]),
        protocol=ProtocolId(protocol) if protocol in set(ProtocolId) else ProtocolId.OTHER,
        kind=CallKind(kind) if kind in set(CallKind) else CallKind.OTHER,
        cached=bool(row["flags"] & CACHED),
        **numbers,
    )


def is_abandoned(descriptor: int) -> bool:
    """Whether no living process holds the writer's lock on an open segment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _sealed(data: bytes | bytearray) -> NDArray[np.bool_]:
    rows = np.frombuffer(bytes(data), DTYPE, len(data) // RECORD_SIZE)
    return np.asarray((rows["crc"] != 0) | (rows["mark"] != 0))


def _sort_out(file: BinaryIO, data: bytearray, position: int, abandoned: bool) -> tuple[NDArray[np.intp], dict[int, bytes]]:
    """Places of whole records in ``data``, and the damaged ones. Cuts off a last record that may still be in the making."""
    damaged: dict[int, bytes] = {}
    sound = _sound(bytes(data), position)
    for place in map(int, np.flatnonzero(~sound)):
        start = place * RECORD_SIZE
        again = os.pread(file.fileno(), RECORD_SIZE, (position + place + 1) * RECORD_SIZE)
        if is_whole(again, position + place + 1):  # it was read while it was written
            data[start : start + RECORD_SIZE] = again
            sound[place] = True
        elif start + RECORD_SIZE == len(data) and not abandoned:
            del data[start:]
        else:
            damaged[position + place + 1] = again
    return np.flatnonzero(sound), damaged


def _sound(data: bytes, position: int) -> NDArray[np.bool_]:
    """Of each record after ``position`` whether it is whole: ``is_whole`` for many at once, with no loop but that of the checksums."""
    count = len(data) // RECORD_SIZE
    rows = np.frombuffer(data, DTYPE, count)
    words = np.frombuffer(data, "<u8", count * RECORD_SIZE // 8).reshape(count, RECORD_SIZE // 8)
    numbers = words[:, FIELDS.size // 8 - 1]
    size = FIELDS.size
    sums = [zlib.crc32(data[start : start + size]) for start in range(0, count * RECORD_SIZE, RECORD_SIZE)]
    expected = np.arange(position + 1, position + 1 + count, dtype=np.uint64)
    return np.asarray((rows["mark"] == MARK) & (numbers == expected) & (rows["crc"] == np.array(sums, np.uint32)))


def is_whole(record: bytes | memoryview, number: int) -> bool:
    """Whether 128 bytes are a sound record that is the ``number``-th of its segment."""
    crc, mark = SEAL.unpack_from(record, FIELDS.size)
    return bool(mark == MARK and zlib.crc32(record[: FIELDS.size]) == crc and FIELDS.unpack_from(record)[-1] == number)
