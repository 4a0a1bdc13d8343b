"""A worker's whole path in one process: front, handler, gate over a published snapshot, journal, data plane, real model."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from pathlib import Path

import httpx

from integration.served import Served
from modelyard.core.access import Action, Key
from modelyard.core.deployments import ServedDeployment
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.journal import Journal
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.handler import Handler
from modelyard.store.segments import JournalReader
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter

WIDE = "my_abc_0123456789"
"""May call everything."""
SCOPED = "my_def_0123456789"
"""May call ``demo`` only."""
TWO = "my_two_0123456789"
"""May call two deployments."""
READER = "my_rea_0123456789"
"""May read, but not call."""


def _key(number, secret, **more):
    return Key(id=number, workspace_id=1, public_id=secret[3:6], digest=hashlib.sha256(secret.encode()).hexdigest(), **more)


def _journal(folder):
    return Journal(folder, bytes(16), 0, segment_bytes=1 << 20)


class Live:
    """Serves ``demo`` of workspace 1 as ``Served`` does, on a port of its own, from a thread of its own."""

    def __init__(self, folder: Path, make_model, protocols, journal=_journal):
        make_model(folder / "model.onnx")
        self.served = Served(folder / "model.onnx")
        self.served.plane.accepting = True
        self.folder = folder
        state = SnapshotState(
            workspaces={1: "default", 2: "other"},
            deployments=(
                ServedDeployment(id=1, workspace_id=1, name="demo", revision=1, routes=()),
                ServedDeployment(id=2, workspace_id=2, name="foreign", revision=1, routes=()),
            ),
            versions=(),
            keys=(
                _key(1, WIDE),
                _key(2, SCOPED, deployments=("demo",)),
                _key(3, TWO, deployments=("demo", "other")),
                _key(4, READER, actions=(Action.READ,)),
            ),
        )
        writer = SnapshotWriter(folder / "snapshot")
        writer.publish(state)
        writer.close()
        self.journal = journal(folder / "journal")
        self.gate = Gate(SnapshotHolder(SnapshotReader(folder / "snapshot").load()), self.journal)
        self.handler = Handler(protocols, self.gate, self.served.plane)
        self._thread = threading.Thread(target=self._run, name="live")
        self._started = threading.Event()

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(20)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers={"authorization": f"Bearer {SCOPED}"})
        return self

    def __exit__(self, *_):
        self.client.close()
        self.served.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self.journal.close()
        self.served.close()

    def records(self):
        return list(JournalReader(self.folder / "journal").records())

    def _run(self):
        self.served.loop.run_until_complete(self._serve())

    async def _serve(self):
        self._stop = asyncio.Event()
        front = Http1Front(self.handler)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            await front.serve(listener)
            await self.start_more()
            self._started.set()
            await self._stop.wait()
            await self.stop_more()
            await front.drain(5)

    async def start_more(self):
        """For another front on the same handler."""

    async def stop_more(self):
        """Its end."""
