"""What a replica's process is told when it starts, and what it leaves behind when it cannot."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from modelyard.core.deployments import Reach
from modelyard.core.errors import ModelyardError
from modelyard.core.frames import Failure
from modelyard.core.unreadable import UNREADABLE
from modelyard.serving.replicas.sockets import SPEC

_FAILURE = "failure.json"


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A replica to be, as its process reads it from ``SPEC`` in its folder."""

    artifact: str
    """Folder with the artifact's files."""
    entry: str
    format: str
    threads: int = 1
    program: str = ""
    """What starts the format's own server; see ``LoadOptions``."""
    concurrency: int = 0
    """Calls computed at once; 0 leaves it to the model."""
    drain_seconds: float = 20.0
    home: str = ""
    workspace_id: int = 0
    """Whose version it is."""
    sealed: bool = False
    """Whether its files may hold sealed secrets, which are then opened with the home's own."""
    reach: Reach = "machine"
    """How it is confined before it opens anything."""
    gpus: bool = False
    """Whether it may open the devices of GPUs."""

    def write(self, folder: Path) -> None:
        (folder / SPEC).write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, folder: Path) -> ReplicaSpec:
        return msgspec.json.decode((folder / SPEC).read_bytes(), type=cls)


def leave_failure(folder: Path, error: ModelyardError) -> None:
    """Says why this process cannot serve, for whoever started it."""
    (folder / _FAILURE).write_bytes(msgspec.json.encode(Failure.of(error)))


def left_failure(folder: Path) -> str:
    """What a process said of why it could not serve; empty when it said nothing."""
    with suppress(OSError, *UNREADABLE):
        return msgspec.json.decode((folder / _FAILURE).read_bytes(), type=Failure).message
    return ""
