"""In-memory twins of what surrounds the data plane, for tests of protocols, runtimes and handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from modelyard.core.access import ALL_ACTIONS, Action, Grant
from modelyard.core.cost import Cost
from modelyard.core.deployments import Route, ServedDeployment, ServedVersion
from modelyard.core.errors import ModelyardError, Unauthenticated, Unavailable
from modelyard.core.exchange import Exchange, Fields, Headers
from modelyard.core.models import Artifact, Profile
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.permit import Permit, Reserved
from modelyard.runtimes.base import LoadedModel
from modelyard.serving.replica import Replica, Timing
from modelyard.store.records import Caller
from modelyard.store.snapshot import Snapshot

Answer = TypeVar("Answer")


class MemoryExchange(Exchange):
    """A request made of values, which remembers its one answer."""

    __slots__ = ("answer_body", "answer_headers", "answer_status")

    def __init__(self, method: str, target: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers or {}
        self.body = body
        self.peer, self.secure, self.received_ns, self.aborted, self.on_abort = "127.0.0.1", False, 0, None, None
        self.answer_status = 0
        self.answer_headers: dict[bytes, bytes] = {}
        self.answer_body = b""

    def respond(  # on every call's path, where keywords cost time
        self,
        status: int,
        headers: Headers,
        body: bytes | Sequence[bytes | memoryview],
        own: Fields = (),
        more: Fields = (),
    ) -> None:
        if self.answer_status:
            raise RuntimeError("An exchange was answered twice.")
        self.answer_status, self.answer_headers = status, dict([*headers, *own, *more])
        self.answer_body = body if isinstance(body, bytes) else b"".join(body)

    def start(self, status: int, headers: Headers) -> None:
        self.respond(status, headers, b"")

    def send(self, chunk: bytes) -> None:
        self.answer_body += chunk

    async def drain(self) -> None:
        """The client takes everything at once."""

    def finish(self) -> None:
        """Nothing is left to do."""


class MemoryJournal:
    """Remembers what it was to record; may refuse to."""

    def __init__(self, settled: list[tuple[int, Cost, ProtocolId, CallKind, int, int]], refuse: ModelyardError | None = None) -> None:
        self._settled, self._refuse = settled, refuse

    def append(  # noqa: PLR0917  # as gate.journal.Journal
        self,
        caller: Caller,  # noqa: ARG002  # as gate.journal.Journal
        status: int,
        cost: Cost,
        protocol: ProtocolId,
        kind: CallKind,
        bytes_in: int,
        bytes_out: int,
    ) -> bool:
        self._settled.append((status, cost, protocol, kind, bytes_in, bytes_out))
        if self._refuse is not None:
            raise self._refuse
        return True


class OpenGate:
    """Lets in whoever sends the one key, as ``Authorization: Bearer key``, with every right in workspace 1."""

    def __init__(self, key: bytes = b"key", grant: Grant | None = None) -> None:
        self.grant = grant or Grant(workspace_id=1, key_id=1, public_id="open", actions=ALL_ACTIONS, deployments=frozenset())
        self.settled: list[tuple[int, Cost, ProtocolId, CallKind, int, int]] = []
        """The journal: one entry a call."""
        self.admitted: list[tuple[Action, str | None, bytes]] = []
        self.refuse: ModelyardError | None = None
        """Raised instead of a permit."""
        self.refuse_settling: ModelyardError | None = None
        self.reserved: Reserved | None = None
        """What limits hold for the next calls."""
        self._header = b"Bearer " + key

    def authenticate(self, headers: Mapping[bytes, bytes], query: str, peer: str) -> Grant:  # noqa: ARG002  # as the gate
        if headers.get(b"authorization") != self._header or "key=" in query:
            raise Unauthenticated("This needs a key.")
        return self.grant

    def admit(  # as gate.check.Gate
        self,
        grant: Grant,  # noqa: ARG002  # as the gate
        action: Action,
        deployment: str | None,
        request_id: bytes,
        kind: CallKind = CallKind.OTHER,  # noqa: ARG002  # as the gate
    ) -> Permit:
        if self.refuse is not None:
            raise self.refuse
        self.admitted.append((action, deployment, request_id))
        caller = (request_id, self.grant.workspace_id, self.grant.key_id, 0)
        return Permit(MemoryJournal(self.settled, self.refuse_settling), caller, self.reserved)


class FunctionModel(LoadedModel):
    """A model that is a Python function; remembers the inputs of each run."""

    def __init__(self, signature: Signature, compute: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
        self.signature = signature
        self.runs: list[dict[str, Array]] = []
        self.closed = False
        self._compute = compute

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        self.runs.append(inputs)
        return self._compute(inputs)

    def close(self) -> None:
        self.closed = True


class MemorySnapshots:
    """Published states handed over in memory."""

    def __init__(self) -> None:
        self.number = 0
        self._snapshot: Snapshot | None = None

    def publish(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the newest."""
        self.number, self._snapshot = snapshot.number, snapshot

    def load(self) -> Snapshot:
        if self._snapshot is None:
            raise Unavailable("Nothing is published yet.")
        return self._snapshot


class FunctionLoader:
    """Gives replicas of prepared models by version id; an error in place of a model is raised."""

    def __init__(self, models: dict[int, LoadedModel | ModelyardError], timing: Timing = Timing(1.0, 0.0)) -> None:  # noqa: B008  # immutable
        self.models = models
        self.loaded: list[int] = []
        self._timing = timing

    def load(self, version: ServedVersion) -> Replica:
        self.loaded.append(version.id)
        model = self.models[version.id]
        if isinstance(model, ModelyardError):
            raise model
        return Replica(model, self._timing)


class Folders:
    """Artifacts that lie in folders already, by digest."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    def materialize(self, artifact: Artifact) -> Path:
        return self._folders[artifact.digest]


def served_version(
    version_id: int,
    signature: Signature,
    *,
    number: int = 1,
    model: str = "m",
    profile: Profile | None = None,
    aliases: tuple[str, ...] = (),
) -> ServedVersion:
    """A version as a snapshot holds it; batched and inline unless ``profile`` says otherwise."""
    return ServedVersion(
        id=version_id,
        model=model,
        number=number,
        artifact=Artifact(format="onnx", digest=str(version_id), files=(), entry="model.onnx"),
        signature=signature,
        profile=profile or Profile(row_independent=True, inline=True),
        aliases=aliases,
    )


def served_deployment(
    name: str, routes: dict[int, int], *, deployment_id: int = 1, workspace_id: int = 1, revision: int = 1
) -> ServedDeployment:
    """A deployment with ``routes`` from version id to weight."""
    made = tuple(Route(version_id=version_id, weight=weight) for version_id, weight in routes.items())
    return ServedDeployment(id=deployment_id, workspace_id=workspace_id, name=name, revision=revision, routes=made)


class Unmetered:
    """Computes without a ledger; see ``scoring.metering.Meter``."""

    def computed(self, rows: int, compute: Callable[[], Answer]) -> Answer:
        del rows
        return compute()
