"""One Python model on a loopback port, loaded anew when its files change: ``modelyard dev``."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from modelyard.core.access import ALL_ACTIONS, Action, Certificate, Grant
from modelyard.core.clock import SystemClock
from modelyard.core.deployments import DeploymentState, Route, ServedDeployment, ServedVersion
from modelyard.core.errors import Conflict, ModelyardError
from modelyard.core.models import Artifact, Profile
from modelyard.core.usage import CallKind
from modelyard.gate.check import SnapshotHolder
from modelyard.gate.openness import Openness
from modelyard.gate.permit import Permit
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as OPEN_INFERENCE
from modelyard.protocols.records.routes import PROTOCOL as RECORDS
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.python_model import RUNTIME
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.handler import Handler
from modelyard.server.health import health_protocol
from modelyard.serving.batching import Batcher, BatchOptions, Identity, Runs
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.loading import unload
from modelyard.serving.replica import Replica, Timing
from modelyard.serving.router import Lane, Routes
from modelyard.serving.statistics import CallStatistics

LOOK_SECONDS = 0.3
WORKSPACE = 1
ANYBODY = Grant(workspace_id=WORKSPACE, key_id=0, public_id="dev", actions=ALL_ACTIONS, deployments=frozenset())
Tell = Callable[[str], None]


class _Unrecorded:
    """A journal of calls that cost nobody anything."""

    def append(self, *_: object) -> bool:
        """Keeps nothing, and nobody misses it."""
        return True


class _OpenGate:
    """Lets everybody on this machine in, and counts nothing."""

    def __init__(self) -> None:
        self._journal = _Unrecorded()
        self.openness = Openness(SnapshotHolder(), SystemClock())

    def authenticate(self, _headers: Mapping[bytes, bytes], _query: str, _peer: str = "") -> Grant:
        return ANYBODY

    def certified(self, _certificate: Certificate, _peer: str = "") -> Grant | None:
        return ANYBODY

    def admit(self, grant: Grant, _action: Action, _deployment: str | None, request_id: bytes, _kind: CallKind = CallKind.OTHER) -> Permit:
        return Permit(self._journal, (request_id, grant.workspace_id, grant.key_id, 0))


class Workbench:
    """The model as its file stands now. Belongs to the event loop."""

    def __init__(self, file: Path, tell: Tell) -> None:
        self._file, self._tell = file, tell
        self.name = "model" if file.stem == "model" else file.stem.lower().replace("_", "-")
        self.plane = DataPlane()
        self.plane.accepting = True
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="compute")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._seen: dict[Path, int] = {}
        self._number = 0
        self._batcher: Batcher | None = None

    async def watch(self) -> None:
        """Loads the model now, and again whenever a Python file in its folder or below has changed."""
        while True:
            now = self._times()
            if now != self._seen:
                self._seen = now
                await self._load()
            await asyncio.sleep(LOOK_SECONDS)

    def _times(self) -> dict[Path, int]:
        found = {}
        for path in self._file.parent.rglob("*.py"):
            if not any(part.startswith(".") or part in {"venv", "__pycache__"} for part in path.relative_to(self._file.parent).parts):
                found[path] = path.stat().st_mtime_ns
        return found

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            replica = await loop.run_in_executor(self._loader, self._loaded)
        except ModelyardError as error:
            self._tell(error.message if self._batcher is None else f"{error.message} The one before goes on.")
            return
        self._number += 1
        # Never the loop's own thread: user code may take its time. Rows of calls are not joined: nothing has proved that they may be.
        profile = Profile()
        signature = replica.signature
        artifact = Artifact(format="python", digest="", files=(), entry=self._file.name)
        version = ServedVersion(
            id=self._number, model=self.name, number=self._number, artifact=artifact, signature=signature, profile=profile
        )
        identity = Identity(self.name, self._number, self._number, signature)
        batcher = Batcher(replica, identity, profile, executor=self._threads, options=BatchOptions(), loop=loop)
        deployment = ServedDeployment(
            id=1, workspace_id=WORKSPACE, name=self.name, revision=self._number, routes=(Route(version_id=self._number, weight=100),)
        )
        self.plane.put(Routes(deployment, [Lane(version, 100, batcher, CallStatistics())], DeploymentState.READY))
        former, self._batcher = self._batcher, batcher
        if former is not None:
            former.retire(self._unload)
        inputs = ", ".join(f"{spec.name} {spec.datatype}{spec.wire_shape}" for spec in signature.inputs)
        self._tell(f"{self._file.name} is served as {self.name!r}, load {self._number}: {inputs}")

    def _unload(self, replica: Runs) -> None:
        self._loader.submit(unload, replica)

    def _loaded(self) -> Replica:
        """The model, with modules beside it imported anew. Runs in a thread."""
        folder = str(self._file.parent)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(folder + "/") and name != "__main__":
                del sys.modules[name]
        return Replica(RUNTIME.load(self._file.parent, self._file.name, LoadOptions()), Timing(0.0, 0.0))


def serve(file: Path, port: int, tell: Tell) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises Conflict when the port is taken.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise Conflict(f"Port {port} cannot be opened: {error.strerror}; choose another with --port.") from None
    uvloop.run(_serve(file, listener, tell))


async def _serve(file: Path, listener: socket.socket, tell: Tell) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    bench = Workbench(file, tell)
    handler = Handler((OPEN_INFERENCE, RECORDS, health_protocol(lambda: "")), _OpenGate(), bench.plane)
    front = Http1Front(handler)
    listener.setblocking(False)
    await front.serve(listener)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    tell(f"{address}/v2/models/{bench.name}/infer and {address}/v1/deployments/{bench.name}/predict answer; Ctrl-C ends it.")
    watching = loop.create_task(bench.watch())
    ended = loop.create_task(stop.wait())
    await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await front.drain(1.0)
