"""Sockets of replicas, and what is done about paths that are too long for the system.

Imports nothing that may start a thread: see ``entrypoints.replica``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core.errors import InvalidRequest

SPEC, SOCKET = "spec.json", "s"
"""In a replica's folder: what it is told, and where it listens."""
LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes."""
BACKLOG = 128


def bound(path: Path) -> socket.socket:
    """A socket at ``path``, for its owner only, on which nobody listens yet; what lay there before is removed."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    with _short(path) as address:
        made.bind(address)
    path.chmod(0o600)
    made.setblocking(False)
    return made


def listening(path: Path) -> socket.socket:
    """The same, and it listens."""
    made = bound(path)
    made.listen(BACKLOG)
    return made


async def connected(path: Path) -> socket.socket:
    """A socket connected to ``path``; raises OSError when nobody listens there."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    try:
        with _short(path) as address:
            await asyncio.get_running_loop().sock_connect(made, address)
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path as the system takes it: it allows about a hundred bytes, so a longer one goes by way of its open folder."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise InvalidRequest(f"The path {str(path)!r} is too long for a socket on this system; use a home with a shorter path.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
