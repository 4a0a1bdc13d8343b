"""Calls that touch the disk: done in threads, so that the event loop never waits for one."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from modelyard.core.errors import Unavailable
from modelyard.protocols.call import Call

T = TypeVar("T")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def later(call: Call, threads: Executor | None, step: Callable[[], T], answer: Callable[[T], None]) -> None:
    """Runs ``step`` in a thread, then ``answer`` with its result on the loop; errors of both become the answer."""
    future = asyncio.get_running_loop().run_in_executor(threads, step)
    future.add_done_callback(lambda done: call.guard(_finish, done, answer))


def _finish(done: asyncio.Future[T], answer: Callable[[T], None]) -> None:
    try:
        result = done.result()
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                "The server has no room to store this now; try again later, or ask for the answer at once.", retry_after=60.0
            ) from error
        raise
    answer(result)
