"""The counters of one machine's limits, in memory that all its processes map.

A limit has a cell: the window it counts, how much this machine was granted for it, and for each process (a *seat*) how much it has
taken into its hands and how much of that it has spent. What is left is never stored but worked out, ``granted - Σ max(taken,
spent)``, so that every change is one store of one word, and a process killed between any two instructions leaves no sum that is
wrong. A seat's words are written by its process alone, and for a dead one by whoever holds the lock.

The lock (``flock``) is needed to take, to give back and to begin a window, never to spend. The file outlives every process; what is
in it counts until the machine is started anew, which shows in the kernel's boot id.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core.errors import ModelyardError, Unavailable

SEATS = 64
CAPACITY = 8192
"""Limits on one machine."""
MAGIC = 0x4D594C494D495453
LAYOUT = 1
_HEAD = 64
_MAGIC, _LAYOUT, _SEATS, _CAPACITY, _BOOT, _HOLDER, _DEMAND, _CELLS, _SEATED, _MONOTONIC = 0, 1, 2, 3, 4, 5, 7, 8, 9, 10
LIMIT, REVISION, WINDOW, GRANTED, ELSEWHERE, AMOUNT, RECALL, NEED = range(8)
"""Words of a cell: whose it is, by which revision of the limit, which window (0: none yet), what this machine may use in it, what
others may, the whole amount, whether somebody waits for units that others hold, and how many one call wanted that found none."""
TAKEN = 8
SPENT = TAKEN + SEATS
STRIDE = SPENT + SEATS
_SPINS = 60
_SPIN_SECONDS = 2e-5


class Awaited(Unavailable):
    """What is needed may come within moments. ``instead`` is the refusal if it does not."""

    def __init__(self, instead: ModelyardError) -> None:
        super().__init__(instead.message, retry_after=instead.retry_after)
        self.instead = instead


class Counters:
    """One process's view of the file below ``folder``, with a seat once ``sit`` was called. Belongs to one thread.

    Raises Unavailable when the file cannot be made.
    """

    def __init__(self, folder: Path, *, capacity: int = CAPACITY) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._seat_lock = -1
        self.seat = -1
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.words, self._memory = self._open(capacity)
        except OSError as error:
            os.close(self._lock)
            raise Unavailable(f"The counters of limits in {folder} cannot be made: {error.strerror}. Free disk space.") from error
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._places: dict[int, int] = {}
        self._closed = False

    @property
    def holder(self) -> str:
        """A name for these counters; another one when the file was lost."""
        return f"{self.words[_HOLDER]:016x}{self.words[_HOLDER + 1]:016x}"

    @property
    def demand(self) -> int:
        """Changes whenever a process asks for more to be leased."""
        return self.words[_DEMAND]

    def ask(self, base: int, need: int) -> None:
        """Asks for more of a cell to be leased, ``need`` at least."""
        self.words[base + NEED] = max(need, self.words[base + NEED])
        self.words[_DEMAND] += 1  # a lost increment is no harm: the other one changes it

    @property
    def seats(self) -> int:
        """How many seats may be taken."""
        return max(1, self.words[_SEATED])

    @contextmanager
    def locked(self, *, patient: bool = False) -> Iterator[None]:
        """Alone among all processes. Not on the event loop with ``patient``: that waits for ever.

        Raises Awaited when another process holds the lock unusually long.
        """
        if patient:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        else:
            self._acquire()
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def sit(self) -> int:
        """Takes a free seat for the life of this process, and gives back what a dead one before had in its hands.

        Raises Unavailable when all are taken.
        """
        for seat in range(SEATS):
            descriptor = self._try_seat(seat)
            if descriptor >= 0:
                with self.locked(patient=True):
                    self._clear(seat)
                    self.words[_SEATED] = max(self.words[_SEATED], seat + 1)
                self._seat_lock, self.seat = descriptor, seat
                return seat
        raise Unavailable(f"More than {SEATS} processes count limits on this machine; start fewer workers.")

    def reclaim(self) -> None:
        """Gives back what dead processes had in their hands. What they have spent stays spent."""
        for seat in range(self.words[_SEATED]):
            if seat == self.seat:
                continue
            descriptor = self._try_seat(seat)
            if descriptor >= 0:
                try:
                    with self.locked(patient=True):
                        self._clear(seat)
                finally:
                    os.close(descriptor)

    def place(self, limit_id: int) -> int:
        """Where a limit's cell begins, found or made; to be called with the lock held.

        Raises Unavailable when there are too many.
        """
        found = self._places.get(limit_id)
        words = self.words
        if found is not None and words[found + LIMIT] == limit_id:
            return found
        self._read_places()
        found = self._places.get(limit_id)
        if found is None:
            found = self._free_place()
            self.clear(found)
            words[found + LIMIT] = limit_id
            self._places[limit_id] = found
        return found

    def places(self) -> dict[int, int]:
        """Every limit with a cell, and where that is."""
        self._read_places()
        return dict(self._places)

    def clear(self, base: int) -> None:
        """Makes a cell nobody's; with the lock held."""
        words = self.words
        words[base + WINDOW] = 0
        words[base + LIMIT] = 0
        for at in range(base + REVISION, base + STRIDE):
            words[at] = 0

    def begin(self, base: int, window: int, granted: int) -> None:
        """Begins a window; with the lock held. Killed half-way it leaves the window 0, which is begun again."""
        words = self.words
        words[base + WINDOW] = 0
        for at in range(base + TAKEN, base + STRIDE):
            words[at] = 0
        words[base + GRANTED] = granted
        words[base + ELSEWHERE] = words[base + RECALL] = words[base + NEED] = 0
        words[base + WINDOW] = window

    def used(self, base: int) -> int:
        """What is spent or in some process's hands."""
        words, seats = self.words, self.words[_SEATED]
        taken = words[base + TAKEN : base + TAKEN + seats].tolist()
        return sum(map(max, taken, words[base + SPENT : base + SPENT + seats].tolist()))

    def spent(self, base: int) -> int:
        """What is spent."""
        return sum(self.words[base + SPENT : base + SPENT + self.words[_SEATED]].tolist())

    def close(self) -> None:
        """Gives up the seat; what it still has in its hands goes back."""
        if self._closed:
            return
        self._closed = True
        if self.seat >= 0:
            with self.locked(patient=True):
                self._clear(self.seat)
            os.close(self._seat_lock)
            self.seat = -1
        self.words.release()
        self._memory.close()
        os.close(self._lock)

    def _acquire(self) -> None:
        for _ in range(_SPINS):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_SPIN_SECONDS)
            else:
                return
        raise Awaited(Unavailable("The counters of limits are busy; try again.", retry_after=1.0))

    def _try_seat(self, seat: int) -> int:
        """A descriptor that holds the seat, or -1 while a living process does."""
        descriptor = os.open(self._folder / f"seat-{seat:02d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return -1
        return descriptor

    def _clear(self, seat: int) -> None:
        words = self.words
        for number in range(words[_CELLS]):
            base = _HEAD + number * STRIDE
            if words[base + TAKEN + seat] != words[base + SPENT + seat]:
                words[base + TAKEN + seat] = words[base + SPENT + seat]

    def _read_places(self) -> None:
        words = self.words
        bases = range(_HEAD, _HEAD + words[_CELLS] * STRIDE, STRIDE)
        self._places = {words[base + LIMIT]: base for base in bases if words[base + LIMIT]}

    def _free_place(self) -> int:
        words = self.words
        taken = set(self._places.values())
        for number in range(words[_CAPACITY]):
            base = _HEAD + number * STRIDE
            if base not in taken:
                words[_CELLS] = max(words[_CELLS], number + 1)
                return base
        raise Unavailable(f"There are more than {words[_CAPACITY]} limits; remove some.")

    def _open(self, capacity: int) -> tuple[memoryview[int], mmap.mmap]:
        """Maps the file, made anew when there is none that can be used: never while another process sits at it."""
        size = 8 * (_HEAD + capacity * STRIDE)
        path = self._folder / f"counters-{LAYOUT}-{capacity}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fresh = os.fstat(descriptor).st_size < size
            _allocate(descriptor, size)
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        words = memoryview(memory).cast("q")
        shape = (MAGIC, LAYOUT, SEATS, capacity, _boot())
        if fresh or words[:_HOLDER].tolist() != list(shape) or words[_MONOTONIC] > time.monotonic_ns():
            words[_MAGIC] = 0
            for at in range(_HEAD + words[_CELLS] * STRIDE if 0 <= words[_CELLS] <= capacity else len(words)):
                words[at] = 0
            words[_HOLDER], words[_HOLDER + 1] = secrets.randbits(62), secrets.randbits(62)
            for at, value in enumerate(shape[1:], 1):
                words[at] = value
            words[_MAGIC] = MAGIC
        words[_MONOTONIC] = time.monotonic_ns()
        return words, memory


def _allocate(descriptor: int, size: int) -> None:
    """All the space now: a hole in a mapped file kills the process when the disk is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    if os.fstat(descriptor).st_size < size:
        os.pwrite(descriptor, bytes(size), 0)


def _boot() -> int:
    """A number that changes when the machine starts anew; 0 where the kernel does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return int(path.read_text().replace("-", "")[:15], 16) if path.exists() else 0
