"""A model that processes of a Ray cluster hold, each on a core of its own."""

from __future__ import annotations

import logging
import queue
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from modelyard.core.errors import JobFailed, ModelyardError
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.engines.cluster import LOCAL, Cluster
from modelyard.engines.ray_cluster import check_room, joined
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES

logger = logging.getLogger(__name__)
_RESTARTS = 3
"""Of each process that is lost, on whatever machine has room then."""
_MOST = 256


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
        make = ray.remote(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)(_Holder).remote
        holders = [make([files], entry) for _ in range(max(1, count))]
        logger.info("Processes of the Ray cluster that compute: %d", len(holders))
        yield Spread(holders)


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
    """See ``LoadedModel``; a call goes to whatever process is free, and again where one was lost."""

    def __init__(self, holders: list[Any]) -> None:
        self.concurrency = len(holders)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.signature = _got(holders[0].signature.remote())
        for holder in holders:
            self._free.put(holder)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        holder = self._free.get()
        try:
            found: dict[str, Array] = _got(holder.infer.remote(inputs))
        finally:
            self._free.put(holder)
        return found

    def close(self) -> None:
        """The processes end with the cluster's part in this job."""


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ModelyardError):
            raise error.cause from None
        raise
    except RayError as error:
        told = " ".join(str(error).split())[:300]
        raise JobFailed(f"The Ray cluster lost what computes, {_RESTARTS} new starts did not help: {told}. Resume the job.") from None
