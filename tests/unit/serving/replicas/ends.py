"""Both ends of a replica's socket in one loop: servers around Python functions, and a pool that reaches them."""

import asyncio
import threading
from contextlib import asynccontextmanager

from modelyard.core.deployments import ReplicaPolicy
from modelyard.core.models import Profile
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.replicas.places import Place, Places, ReplicaState
from modelyard.serving.replicas.remote import RemoteReplica
from modelyard.serving.replicas.server import ReplicaServer
from modelyard.serving.replicas.sockets import listening
from modelyard.testing.fakes import served_version
from unit.serving.data_plane import plane_with

OWN = Profile(row_independent=True)


def run(main):
    asyncio.run(asyncio.wait_for(main(), 30))


async def until(check, seconds=20):
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110  # whatever a test waits for
            await asyncio.sleep(0.005)


class Ends:
    """A pool, its batcher and plane, and replicas that tests start and end."""

    def __init__(self, folder, signature, *, profile=OWN, **options):
        self.folder = folder
        version = served_version(11, signature, profile=profile)
        self.remote = RemoteReplica(version)
        identity = Identity("m", 1, 11, signature)
        loop = asyncio.get_running_loop()
        self.batcher = Batcher(self.remote, identity, profile, executor=None, options=BatchOptions(**options), loop=loop)
        self.remote.freed = self.batcher.flush
        self.plane = plane_with(self.batcher, type("M", (), {"signature": signature}))
        self.servers = {}
        self.places = {}
        self.version = version

    async def start(self, name, model, **options):
        server = self.servers[name] = ReplicaServer(model, **options)
        path = self.folder / name
        await server.serve(listening(path))
        self.places[name] = Place(name=name, socket=str(path), pid=1, state=ReplicaState.READY)
        self.tell()
        await until(lambda: name in self.remote._links and self.remote._links[name].usable)
        return server

    def tell(self, wanted=None, reason=""):
        places = tuple(self.places.values())
        self.remote.place(Places(wanted=len(places) if wanted is None else wanted, replicas=places, reason=reason))

    async def kill(self, name):
        """As a process that is killed: its connections end, what it computes is lost."""
        server = self.servers.pop(name)
        del self.places[name]
        for link in list(server._links):
            link._transport.abort()
        server._server.close()
        await until(lambda: name not in self.remote._links)

    async def close(self):
        self.remote.close()
        await until(lambda: not self.remote._links)
        for server in self.servers.values():
            await server.drain(5)


@asynccontextmanager
async def ends(folder, signature, **options):
    made = Ends(folder, signature, **options)
    try:
        yield made
    finally:
        await made.close()


class Gate:
    """Lets a model compute when the test says so, and says when it computes."""

    def __init__(self):
        self.began = threading.Semaphore(0)
        self.go = threading.Event()
        self.count = 0

    def compute(self, inputs):
        self.count += 1
        self.began.release()
        self.go.wait(20)
        return {"y": inputs["x"] * 2}


OWN_POLICY = ReplicaPolicy()
