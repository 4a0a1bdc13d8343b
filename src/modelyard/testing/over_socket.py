"""Models behind a replica's socket, as models again: what a runtime's contract says must hold on the other side as well."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, GenerateRequest
from modelyard.core.inference import InferRequest
from modelyard.core.models import Artifact, Profile
from modelyard.core.tensors import Array
from modelyard.runtimes.base import GenerativeModel, LoadedModel, LoadOptions, Runtime
from modelyard.serving.replica import Result, Waiting
from modelyard.serving.replicas.places import Place, Places, ReplicaState
from modelyard.serving.replicas.remote import RemoteReplica
from modelyard.serving.replicas.server import ReplicaServer
from modelyard.serving.replicas.sockets import listening
from modelyard.serving.statistics import CallStatistics

T = TypeVar("T")


class _Socket:
    """A server and a pool that reaches it, in a loop of their own."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory()
        self._thread = threading.Thread(target=self._loop.run_forever, name="socket", daemon=True)
        self._thread.start()
        self.closed = False
        self.remote = self.call(self._open())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def soon(self, step: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(step)

    async def _open(self) -> RemoteReplica:
        self._server = ReplicaServer(self._model)
        path = Path(self._folder.name) / "s"
        await self._server.serve(listening(path))
        artifact = Artifact(format="", digest="", files=(), entry="")
        remote = RemoteReplica(
            ServedVersion(id=1, model="m", number=1, artifact=artifact, signature=self._model.signature, profile=Profile())
        )
        place = Place(name="only", socket=str(path), pid=0, state=ReplicaState.READY)
        remote.place(Places(wanted=1, replicas=(place,)))
        while not remote.ready:  # noqa: ASYNC110  # a test waits
            await asyncio.sleep(0.001)
        return remote

    async def infer(self, inputs: dict[str, Array]) -> Result:
        ended: asyncio.Future[Result] = self._loop.create_future()
        waiting = Waiting(inputs, (), 1, 0, InferRequest(inputs), CallStatistics(), lambda _: None)
        self.remote.begin([waiting], 1, 0.0, None, ended.set_result)
        return await ended

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._model.close()
        self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._folder.cleanup()

    async def _end(self) -> None:
        await self._server.drain(5)
        self.remote.close()
        await asyncio.sleep(0.01)


class SocketModel(LoadedModel):
    """A loaded model on the other side of a socket."""

    def __init__(self, model: LoadedModel) -> None:
        self.signature = model.signature
        self._socket = _Socket(model)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if self._socket.closed:
            raise Unavailable("This version was unloaded.")
        outcome = self._socket.call(self._socket.infer(inputs)).outcomes[0]
        if isinstance(outcome, ModelyardError):
            raise outcome
        return dict(outcome)

    def close(self) -> None:
        self._socket.close()


class SocketGenerativeModel(GenerativeModel):
    """A generative model on the other side of a socket."""

    def __init__(self, model: GenerativeModel) -> None:
        self.context_length, self.has_template = model.context_length, model.has_template
        self._socket = _Socket(model)

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        if self._socket.closed:
            emit(Unavailable("This version was unloaded."))
            return lambda: None
        made: Future[Cancel] = Future()
        self._socket.soon(lambda: made.set_result(self._socket.remote.generate(request, emit)))
        cancel = made.result(10)
        return lambda: None if self._socket.closed else self._socket.soon(cancel)

    def close(self) -> None:
        self._socket.close()


class SocketRuntime(Runtime):
    """Another runtime, its models on the other side of a socket."""

    def __init__(self, inner: Runtime) -> None:
        self.name = inner.name
        self._inner = inner

    def load(self, folder: Path, entry: str, options: LoadOptions) -> SocketModel:
        return SocketModel(self._inner.load(folder, entry, options))
