"""How workers share what there is to do: by connections when one is opened, and by work once it shows what it brings.

What a connection will ask for is not known when it is accepted, so connections of equal number may bring very unequal work, and kept
connections stay where they are. A worker that is clearly busier than the others therefore ends some of its connections, each with its
next answer, which says so (``connection: close``): their clients open others, and the worker that has least to do takes those.
"""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

_WORDS = 2
"""Of a slot: one more than its worker's connections (0 where none accepts), and its work in thousandths of a core."""
_WORD = 4
_CLEARLY, _FLOOR = 1.2, 10
"""So much more, and so many thousandths besides, is clearly more: measured over half a second, work that is even moves by a tenth."""
_ROUND = 0.3
"""From seven tenths of a connection on one is moved: half of one too many on one side is half of one too many on the other."""
_LOOKS = 2
"""After so many looks in a row that found a worker too busy, connections move."""
_WAITS = Path("/proc/thread-self/schedstat")


class Excess(NamedTuple):
    """What a worker has to do, and how much that is above the mean of all and above who has least."""

    work: float
    above_mean: float
    above_least: float

    def connections(self, used: int) -> int:
        """How many of the ``used`` that it comes over others should have; 0 where one that brings as much as most would change nothing."""
        each = self.work / used
        return min(int(self.above_mean / each + _ROUND), used - 1) if self.above_least > 1.1 * each else 0


class LoadBoard:
    """What each worker has, in a small file that all workers of a home map into memory.

    Each writes its own slot and reads the others'. A word is four aligned bytes, so nobody sees half a number; a number that is a
    moment old, or one that a dead worker has left, costs a connection two milliseconds and no more.
    """

    def __init__(self, path: Path, slots: int) -> None:
        size = slots * _WORDS * _WORD
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._memory).cast("I")

    def set(self, slot: int, connections: int) -> None:
        """Says how many connections the worker of a slot has."""
        self._words[_WORDS * slot] = connections + 1

    def worked(self, slot: int, cores: float) -> None:
        """Says how much the worker of a slot had to do lately."""
        self._words[_WORDS * slot + 1] = min(int(1000 * cores), 0xFFFFFFFF)

    def expect(self, slot: int) -> None:
        """Adds to the work of a slot what a connection brings on average, until its worker says what it really is."""
        numbers = self._accepting()
        connections = sum([number for number, _ in numbers.values()])
        self._words[_WORDS * slot + 1] += sum([work for _, work in numbers.values()]) // max(1, connections)

    def withdraw(self, slot: int) -> None:
        """Says that the worker of a slot accepts no more."""
        self._words[_WORDS * slot] = self._words[_WORDS * slot + 1] = 0

    def others_go_first(self, slot: int, connections: int) -> bool:
        """Whether another accepting worker has clearly less to do, or as much and fewer connections; ``slot`` is the asker's own."""
        mine = self._words[_WORDS * slot + 1]
        for other, (number, work) in self._accepting().items():
            if other != slot and (_clearly_more(mine, work) or (number < connections and not _clearly_more(work, mine))):
                return True
        return False

    def excess(self, slot: int) -> Excess | None:
        """How much more the worker of a slot has to do than the others; None where that is not clearly more than their mean."""
        works = {other: work for other, (_, work) in self._accepting().items()}
        mine, mean = works.get(slot, 0), sum(works.values()) / max(1, len(works))
        return Excess(mine, mine - mean, mine - min(works.values())) if _clearly_more(mine, mean) else None

    def close(self) -> None:
        """Lets go of the shared memory."""
        self._words.release()
        self._memory.close()

    def _accepting(self) -> dict[int, tuple[int, int]]:
        """Connections and work of each worker that accepts, by its slot."""
        words = self._words.tolist()
        return {
            at // _WORDS: (connections - 1, work)
            for at, (connections, work) in zip(range(0, len(words), _WORDS), zip(words[::2], words[1::2], strict=True), strict=True)
            if connections
        }


def _clearly_more(mine: float, theirs: float) -> bool:
    return mine > theirs * _CLEARLY + _FLOOR


class Movable(Protocol):
    """A connection as balancers see it."""

    def drain(self) -> None:
        """Ends it with its next answer."""


class Used(Protocol):
    """What a balancer needs of a front; ``Http1Front`` has it."""

    def used(self) -> Sequence[Movable]:
        """Connections that calls come over, and whose next answer can still say that it is the last."""


def asked_of_the_cores() -> float:
    """Seconds that this process computed, and that its thread waited for a core: who gets little of a core has no less to do."""
    try:
        waited_ns = int(_WAITS.read_bytes().split()[1])
    except OSError:
        waited_ns = 0  # not told by this system
    return time.process_time() + waited_ns / 1e9


class Balancer:
    """Looks now and then how much one worker has to do, beside the others, and moves connections. Belongs to the event loop."""

    def __init__(
        self,
        front: Used,
        board: LoadBoard,
        slot: int,
        asked: Callable[[], float] = asked_of_the_cores,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._front, self._board, self._slot = front, board, slot
        self._asked, self._clock = asked, clock
        self._before, self._at = asked(), clock()
        self._found = 0

    def look(self) -> None:
        """Tells the others what there was to do since the last look, and moves connections where it was too much twice in a row."""
        asked, now = self._asked(), self._clock()
        if now <= self._at:
            return
        self._board.worked(self._slot, (asked - self._before) / (now - self._at))
        self._before, self._at = asked, now
        excess = self._board.excess(self._slot)
        used = self._front.used() if excess is not None else ()
        surplus = excess.connections(len(used)) if excess is not None and used else 0
        self._found = self._found + 1 if surplus else 0
        if self._found >= _LOOKS:
            self._found = 0
            # Which of them bring most is not known: what was moved in vain, the next looks correct.
            for connection in random.sample(used, surplus):
                connection.drain()
