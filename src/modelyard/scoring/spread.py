"""A model that processes of a Ray cluster hold, each on a core of its own."""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from modelyard.core.errors import Internal, JobFailed, ModelyardError, Unavailable
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.engines.cluster import LOCAL, Cluster
from modelyard.engines.ray_cluster import check_room, joined
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES

logger = logging.getLogger(__name__)
_RESTARTS = 3
"""Of each process that is lost, on whatever machine has room then; and of each call whose process was lost."""
_MOST = 256
_LOOK_S = 0.2
_ADVICE = "What is answered already is kept; resume the job."
_START_S = 60.0
"""What the start of a process may take where there is room for it."""


@contextmanager
def spread(cluster: Cluster, folder: Path, entry: str, cores: int) -> Iterator[LoadedModel]:
    """The ONNX model in ``folder``, held by as many processes as the cluster has free cores; one of this machine's own has ``cores``.

    Raises Unavailable when the cluster is not there, or has no free core.
    """
    with joined(cluster, cores):
        count = cores if cluster.address == LOCAL else min(_MOST, int(ray.available_resources().get("CPU", 0.0)))
        if not count:
            check_room(cluster, [{"CPU": 1.0}])
        files = ray.put({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
        make = ray.remote(num_cpus=1, max_restarts=_RESTARTS)(_Holder).remote
        holders = [make([files], entry) for _ in range(max(1, count))]
        logger.info("Processes of the Ray cluster that compute: %d", len(holders))
        yield Spread(holders, cluster.wait_seconds)


class _Holder:
    """Runs as an actor: one copy of the model."""

    def __init__(self, files: list[Any], entry: str) -> None:
        """``files`` holds a reference, so that it is fetched anew where the process starts again."""
        content: dict[str, bytes] = ray.get(files[0])
        with tempfile.TemporaryDirectory(prefix="modelyard-") as name:
            for path, part in content.items():
                place = Path(name) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(part)
            self._model = RUNTIMES.get("onnx").load(Path(name), entry, LoadOptions(threads=1, keep_memory=True))

    def signature(self) -> Signature:
        return self._model.signature

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._model.infer(inputs)


class Spread(LoadedModel):
    """See ``LoadedModel``; a call goes to whatever process is free, and to another where that one is lost.

    Processes that have no room yet, or start again, are not waited for: they join when they are there.
    """

    def __init__(self, holders: list[Any], wait_seconds: float) -> None:
        """Raises Unavailable when none has started by then, and JobFailed when none can."""
        self.concurrency = self._left = len(holders)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._starting = {holder.signature.remote(): holder for holder in holders}
        self._looking = threading.Lock()
        until = time.monotonic() + wait_seconds + _START_S
        while self._free.empty():
            if time.monotonic() > until:
                raise Unavailable(
                    f"No process of the Ray cluster started within {wait_seconds + _START_S:g} s, because other work holds its cores; "
                    "resume the job when there is room."
                )
            self._admit(_LOOK_S)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        for _ in range(1 + _RESTARTS):
            free = holder = self._taken()
            try:
                found: dict[str, Array] = _got(holder.infer.remote(inputs))
            except RayActorError:
                self._await(holder)
                free = None
            else:
                return found
            finally:
                if free is not None:
                    self._free.put(free)
        raise JobFailed(f"The Ray cluster lost {1 + _RESTARTS} processes that computed the same rows. {_ADVICE}")

    def _taken(self) -> Any:
        """A free process."""
        while True:
            self._admit(0)
            try:
                return self._free.get(timeout=_LOOK_S)
            except queue.Empty:
                continue

    def _await(self, holder: Any) -> None:
        with self._looking:
            self._starting[holder.signature.remote()] = holder

    def _admit(self, seconds: float) -> None:
        """Looks, at most so long, for processes that have started."""
        with self._looking:
            if not self._left:
                raise JobFailed(f"The Ray cluster lost all processes that computed, and started each again {_RESTARTS} times. {_ADVICE}")
            for told in ray.wait(list(self._starting), timeout=seconds)[0] if self._starting else ():
                holder = self._starting.pop(told)
                try:
                    self.signature = _got(told)
                except ActorUnavailableError:  # it is about to start again
                    self._starting[holder.signature.remote()] = holder
                except RayActorError as error:
                    logger.warning("A process of the Ray cluster is lost for good: %s", _words(error))
                    self._left -= 1
                else:
                    self._free.put(holder)

    def close(self) -> None:
        """The processes end with the cluster's part in this job."""


def _got(reference: Any) -> Any:
    """Raises RayActorError when whoever should tell it was lost."""
    try:
        return ray.get(reference)
    except RayActorError:
        raise
    except RayTaskError as error:
        if isinstance(error.cause, ModelyardError):
            raise error.cause from None
        raise Internal(f"A process of the Ray cluster could not compute: {_words(error)}") from None
    except RayError as error:
        raise JobFailed(f"The Ray cluster lost what was computed: {_words(error)}. {_ADVICE}") from None


def _words(error: RayError) -> str:
    """Its last line: Ray puts whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
