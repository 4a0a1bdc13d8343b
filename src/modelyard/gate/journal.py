"""Where a worker writes what each call used: fixed records in a mapped file, so that a record survives the death of the process.

Appending is a copy into memory. Disk space is allocated before a segment is used (a sparse file on a full disk would kill the
process with SIGBUS), and the next segment is made ready by a thread long before the current one is full. When that fails, calls
are refused: nothing is served that is not recorded. A journal that ``serves`` lets them go on, and counts and tells them instead.
What is written survives SIGKILL at any instruction; it does not survive the loss of the machine's disk. The layout is in
``store/segments.py``.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Final
from zlib import crc32

from modelyard.core.clock import Clock, SystemClock
from modelyard.core.cost import Cost
from modelyard.core.errors import Unavailable
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.store.records import Caller, RecordEncoder
from modelyard.store.segments import FIELDS_SIZE, MARK, RECORD_SIZE, SEAL, SUFFIX, SegmentHeader

logger = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 8 << 20
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 0.2


class Journal:
    """The usage segments of one worker. Belongs to one thread; the thread that prepares segments is its own affair.

    ``boot`` is the 16 bytes that the supervisor drew at its start, ``slot`` the worker's place. One that ``serves`` lets calls go on
    where there is no room for their records, and says so of each. Raises Unavailable when the first segment cannot be made, unless
    it does.
    """

    def __init__(
        self,
        folder: Path,
        boot: bytes,
        slot: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Clock | None = None,
        serves: bool = False,
    ) -> None:
        if len(boot) != 16:
            raise ValueError("A boot id has 16 bytes.")
        self._folder, self._boot, self._slot = folder, boot, slot
        self._capacity = max(8, segment_bytes // RECORD_SIZE - 1)
        self._clock = clock or SystemClock()
        self._time_ns = self._clock.time_ns
        self._token = secrets.token_hex(4)
        self._segments = 0
        self._next: mmap.mmap | None = None
        self._maker: threading.Thread | None = None
        self._failure = ""
        self._tried = 0.0
        self._serves = serves
        self._lapse = 0
        self._encoder = RecordEncoder()
        self._crc32, self._seal = crc32, SEAL.pack_into  # found faster here than among a module's names
        self.unrecorded = 0
        """Calls that were let go on without a record."""
        self.latest_ns = 0
        """The wall-clock time of the last record."""
        self._at = self._end = self._alert = self._margin = 0
        self.available = True
        """False while the current segment is nearly full and no other is ready; ``recover`` then says whether that is over."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prepare()
        first = self._ready()
        if first is not None:
            self._begin(first)
        elif serves:
            self._memory, self.available = mmap.mmap(-1, RECORD_SIZE), False  # of no room: the first call looks for some
        else:
            raise self._refusal()

    def append(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self, caller: Caller, status: int, cost: Cost, protocol: ProtocolId, kind: CallKind, bytes_in: int, bytes_out: int
    ) -> bool:
        """Records one call; False when there is no room and the journal ``serves``: the call is counted as unrecorded then.

        Raises Unavailable when there is no room otherwise; nothing is recorded then.
        """
        at = self._at
        if at == self._end:
            at = self._advance()
            if not at:
                return False
        self.latest_ns = now = self._time_ns()
        fields = self._encoder.encode(caller, now, status, cost, protocol, kind, (bytes_in, bytes_out), at // RECORD_SIZE)
        memory = self._memory
        seal = at + FIELDS_SIZE
        memory[at:seal] = fields
        self._seal(memory, seal, self._crc32(fields), MARK)
        self._at = at = at + RECORD_SIZE
        if at >= self._alert:
            self._look_ahead()
        return True

    def recover(self) -> None:
        """Called before a call is admitted while not ``available``; tries again, at most once a second, to get room.

        Raises Unavailable while there is none, unless calls are served all the same.
        """
        if self._next is not None:
            self.available = True
            return
        if self._maker is None or not self._maker.is_alive():
            if time.monotonic() - self._tried >= _RETRY_SECONDS:
                self._prepare_ahead()
            if self._failure and not self._serves:
                raise self._refusal()

    def close(self) -> None:
        """Gives the segments up; what is recorded stays for the fold."""
        if self._maker is not None:
            self._maker.join()
        for memory in (self._memory, self._next):
            if memory is not None and not memory.closed:
                memory.close()
        self._at = self._end = 0
        self._next, self._failure, self.available = None, "it is closed", False
        self._tried, self._serves = float("inf"), False

    def _ready(self) -> mmap.mmap | None:
        return self._next

    def _begin(self, memory: mmap.mmap) -> None:
        self._memory, self._next = memory, None
        self._at = RECORD_SIZE
        self._end = RECORD_SIZE * (self._capacity + 1)
        self._alert = RECORD_SIZE * (self._capacity // 2 + 1)
        self._margin = self._end - RECORD_SIZE * (self._capacity // 8 + 1)
        self.available = True
        if self._lapse:
            logger.warning("There is room in the usage journal again; %d calls went unrecorded", self._lapse)
            self._lapse = 0

    def _look_ahead(self) -> None:
        """Half full: have the next segment made. Nearly full without it: stop admitting, so that calls under way find room."""
        if self._alert < self._margin:
            self._alert = self._margin
            self._prepare_ahead()
        else:
            self._alert = sys.maxsize
            self.available = self._next is not None

    def _advance(self) -> int:
        """Goes over to the next segment; the position of its first record, or 0 when the call goes on without one."""
        if self._next is None and self._maker is not None and not self._lapse:
            self._maker.join(_PATIENCE_SECONDS)
        following = self._next
        if following is None:
            self.available = False
            if not self._serves:
                raise self._refusal()
            return self._let_go()
        full = self._memory
        self._begin(following)
        full.close()
        return self._at

    def _let_go(self) -> int:
        if not self._lapse:
            logger.error("Calls are answered without a record: the usage journal cannot grow (%s). Free disk space", self._failure)
        self._lapse += 1
        self.unrecorded += 1
        return 0

    def _refusal(self) -> Unavailable:
        why = self._failure or "the next segment is not ready yet"
        return Unavailable(
            f"The call cannot be recorded, so it is not served: the usage journal cannot grow ({why}). Free disk space on the server.",
            retry_after=_RETRY_SECONDS,
        )

    def _prepare_ahead(self) -> None:
        self._tried = time.monotonic()
        self._maker = threading.Thread(target=self._prepare, name="journal-segment", daemon=True)
        self._maker.start()

    def _prepare(self) -> None:
        header = SegmentHeader(
            boot=self._boot, slot=self._slot, segment=self._segments, capacity=self._capacity, created_ns=self._clock.time_ns()
        )
        path = self._folder / f"{self._boot.hex()}-{self._slot:03d}-{self._token}-{self._segments:06d}{SUFFIX}"
        try:
            memory = _create(path, header)
        except OSError as error:
            self._failure = os.strerror(error.errno or errno.EIO)
            logger.warning("The next usage segment cannot be made in %s: %s", self._folder, self._failure)
            return
        self._segments += 1
        self._failure = ""
        self._next = memory


def _create(path: Path, header: SegmentHeader) -> mmap.mmap:
    """A segment, locked, with all its disk space, under its name only once it is whole."""
    temporary = path.with_name(path.name + ".tmp")
    size = RECORD_SIZE * (header.capacity + 1)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _allocate(descriptor, size)
        os.pwrite(descriptor, header.encode(), 0)
        memory = mmap.mmap(descriptor, size)  # keeps a duplicate of the descriptor, and with it the lock
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return memory


def _allocate(descriptor: int, size: int) -> None:
    """Takes ``size`` bytes of disk space now. Where the system cannot promise them (macOS), zeros are written and synced."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(1 << 20)
    at = 0
    while at < size:
        at += os.pwrite(descriptor, zeros[: size - at], at)
    os.fsync(descriptor)
