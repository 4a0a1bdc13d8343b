"""A worker's whole data plane on a real socket, in a thread: front, handler, gate, journal, reconciler, ONNX Runtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from contextlib import contextmanager, suppress

import uvloop

from modelyard.core.access import Key
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.journal import Journal
from modelyard.protocols.open_inference_rest.routes import PROTOCOL
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.handler import Handler
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.loading import VersionLoader
from modelyard.serving.reconciler import Reconciler, ReconcilerOptions
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter
from modelyard.testing.fakes import Folders, served_version

SECRET = "my_test_0123456789abcdef"
KEY = Key(id=1, workspace_id=1, public_id="test", digest=hashlib.sha256(SECRET.encode()).hexdigest())


def version_of(version_id, path, **more):
    """A served version of an ONNX file, whose folder is its artifact."""
    model = RUNTIMES.get("onnx").load(path.parent, path.name, LoadOptions())
    return served_version(version_id, model.signature, **more)


class Worker:
    def __init__(self, home, folders):
        self.home, self.writer = home, SnapshotWriter(home / "snapshot")
        self._folders = folders
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._main()))
        self.plane = DataPlane()

    def publish(self, deployments, versions, keys=(KEY,)):
        state = SnapshotState(workspaces={1: "default"}, deployments=tuple(deployments), versions=tuple(versions), keys=tuple(keys))
        return self.writer.publish(state)

    async def _main(self):
        for name in ("journal", "run"):
            (self.home / name).mkdir()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.holder = SnapshotHolder()
        journal = Journal(self.home / "journal", os.urandom(16), 0)
        options = ReconcilerOptions(slot=0, reports=self.home / "run", poll_s=0.005)
        reader = SnapshotReader(self.home / "snapshot")
        reconciler = Reconciler(reader, self.holder, self.plane, VersionLoader(Folders(self._folders)), options)
        task = asyncio.create_task(reconciler.run())
        await reconciler.settled.wait()
        front = Http1Front(Handler([PROTOCOL], Gate(self.holder, journal), self.plane))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
            await front.serve(listener)
        self._up.set()
        await self._stop.wait()
        front.stop_accepting()
        await front.drain(1.0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        journal.close()
        reader.close()

    def start(self):
        self._thread.start()
        assert self._up.wait(20)

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.writer.close()


@contextmanager
def running(home, folders, deployments, versions):
    worker = Worker(home, folders)
    worker.publish(deployments, versions)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
