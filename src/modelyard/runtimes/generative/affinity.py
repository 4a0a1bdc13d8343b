"""More than one core for as long as OpenVINO prepares a graph: 2026.4 ends the process by a division by zero where it is kept to one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from modelyard.core.errors import Unsupported


@contextmanager
def several_cores() -> Iterator[None]:
    """Lets this thread, and what it starts within, onto the machine's other cores, where it is kept to a single one.

    Raises Unsupported where there are no others: better a sentence than the process's end.
    """
    kept = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0, 1}
    if len(kept) > 1:
        yield
        return
    with suppress(OSError):  # where that is not allowed, what is said below holds
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        if len(os.sched_getaffinity(0)) < 2:
            raise Unsupported("OpenVINO cannot prepare a graph in a process that is kept to one core; give it two.")
        yield
    finally:
        os.sched_setaffinity(0, kept)
