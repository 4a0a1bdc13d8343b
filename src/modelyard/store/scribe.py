"""Files written behind an event loop, in a thread of its own: a disk that is busy keeps no call waiting.

What a loop writes by itself can stop it for tens of milliseconds while another process syncs, and for seconds where much is written at
once: appending and replacing files wait for the file system's journal, and whoever makes pages dirty too fast is made to wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

logger = logging.getLogger(__name__)
MOST = 64
"""Pieces of work that may wait for a disk."""
Behind = Callable[[Callable[[], object]], bool]
"""Does a piece of work later, in order; False, and it is not done, where too much waits already."""


def at_once(work: Callable[[], object]) -> bool:
    """Does the work before it returns; for what has no loop."""
    work()
    return True


class Scribe:
    """One thread that writes. ``behind`` belongs to the event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scribe")
        self._waiting: set[Future[object]] = set()

    def behind(self, work: Callable[[], object]) -> bool:
        """Does the work later, in order; False, and it is not done, where too much waits already."""
        if len(self._waiting) >= self._most:
            return False
        future = self._thread.submit(work)
        self._waiting.add(future)
        future.add_done_callback(self._ended)
        return True

    def close(self) -> None:
        """Waits for what is not written yet."""
        self._thread.shutdown()

    def _ended(self, future: Future[object]) -> None:
        self._waiting.discard(future)
        error = future.exception()
        if error is not None:
            logger.error("Something could not be written behind the calls", exc_info=error)
