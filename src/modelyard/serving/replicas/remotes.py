"""One worker's versions that run in replica processes: follows where they are, and tells what they are wanted for."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from modelyard.core.deployments import ServedVersion
from modelyard.serving.replicas.places import DemandBoard, Directory, DirectoryFile
from modelyard.serving.replicas.remote import RemoteReplica

if TYPE_CHECKING:
    from modelyard.serving.batching import Batcher
    from modelyard.serving.dataplane import Starting


class Remotes:
    """Belongs to the event loop; ``look`` is called a few dozen times a second."""

    def __init__(self, directory: DirectoryFile, board: DemandBoard, starting: MutableMapping[int, Starting]) -> None:
        """``starting`` is kept up to date: the versions that have no replica ready."""
        self._file, self._board, self._starting = directory, board, starting
        self._directory: Directory = {}
        self._open: dict[int, RemoteReplica] = {}

    def open(self, version: ServedVersion) -> RemoteReplica:
        """The replicas of a version, wherever they are now."""
        made = self._open[version.id] = RemoteReplica(version)
        made.place(self._directory.get(version.id))
        self._starting[version.id] = made
        return made

    def close(self, remote: RemoteReplica) -> None:
        """Lets go of a version."""
        for version_id in [key for key, found in self._open.items() if found is remote]:
            del self._open[version_id]
            self._starting.pop(version_id, None)
            self._board.forget(version_id)
        remote.close()

    def look(self, batchers: Mapping[int, Batcher]) -> None:
        """Takes a new directory, gives up calls in vain, and tells the demand."""
        directory = self._file.changed()
        if directory is not None:
            self._directory = directory
            for version_id, remote in self._open.items():
                remote.place(directory.get(version_id))
        now_ns = time.monotonic_ns()
        for version_id, remote in self._open.items():
            remote.connect()
            remote.sweep(now_ns)
            if remote.ready:
                self._starting.pop(version_id, None)
            else:
                self._starting[version_id] = remote
            batcher = batchers.get(version_id)
            waiting = 0
            if batcher is not None and batcher.replica is remote:
                if batcher.waiting:
                    batcher.sweep(now_ns, remote.refusal)
                waiting = batcher.waiting
            self._board.tell(version_id, remote.outstanding + waiting, remote.calls + waiting)
