"""A Ray cluster for a piece of work: one that runs already, or one of this machine that is started for the work and ended with it.

Ray places processes and watches them; calls never go through it.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group

from modelyard.core.errors import InvalidRequest, Unavailable
from modelyard.engines.cluster import LOCAL, Cluster

_OBJECTS_BYTES = 80 << 20
"""Of the shared store of a cluster of our own, which little goes through: the least that Ray takes."""
_LOOPBACK = "127.0.0.1"
_PLACES = "modelyard-ray-"
_LOCK = "lock"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Nothing is told to anybody outside the cluster; and a lost worker is noticed at once."""

_INTERFACE = "lo" if sys.platform.startswith("linux") else "lo0"
_ALONE = {"RAY_memory_monitor_refresh_ms": "0", "GLOO_SOCKET_IFNAME": _INTERFACE, "NCCL_SOCKET_IFNAME": _INTERFACE}
"""In a cluster of our own, whose memory the job's limit bounds."""


@contextmanager
def joined(cluster: Cluster, cores: float) -> Iterator[None]:
    """Within it ``ray`` speaks to the cluster; one of this machine's own has so many ``cores``.

    Raises InvalidRequest for an address that is none, and Unavailable when nobody answers there.
    """
    if cluster.address == LOCAL:
        with _started(cores):
            yield
        return
    _knock(cluster)
    with _environment(_QUIET):
        _join(cluster)
        try:
            yield
        finally:
            ray.shutdown()


def check_room(cluster: Cluster, parts: Sequence[Mapping[str, float]]) -> None:
    """Waits until the cluster has room for all ``parts`` at once, as long as the settings say.

    Raises Unavailable, which tells what is there, when it has not.
    """
    group = placement_group([dict(part) for part in parts], strategy="PACK")
    try:
        if group.wait(timeout_seconds=math.ceil(cluster.wait_seconds)):
            return
    finally:
        remove_placement_group(group)
    wanted = {name: sum(part.get(name, 0) for part in parts) for name in sorted({name for part in parts for name in part})}
    there, free = (_amounts(_known(wanted, total=total)) for total in (True, False))
    raise Unavailable(
        f"The Ray cluster had no room for {_amounts(wanted)} within {cluster.wait_seconds:g} s: it has {there}, of which {free} is free. "
        "Ask for fewer workers or cores, or resume the job when there is room."
    )


def _known(wanted: Mapping[str, float], *, total: bool) -> dict[str, float]:
    found = ray.cluster_resources() if total else ray.available_resources()
    return {name: float(found.get(name, 0.0)) for name in wanted}


def _amounts(values: Mapping[str, float]) -> str:
    return " and ".join(f"{value:g} {name}" for name, value in values.items())


@contextmanager
def _started(cores: float) -> Iterator[None]:
    """A cluster that only this machine can reach, and only who knows a word that is made up for it (``engines/cluster.py``)."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with _place() as place, _environment(_QUIET | _ALONE | {"PYTHONPATH": paths}):
        ray.init(
            address="local",
            num_cpus=max(1, round(cores)),
            include_dashboard=False,
            object_store_memory=_OBJECTS_BYTES,
            logging_level=logging.WARNING,
            _node_ip_address=_LOOPBACK,
            _temp_dir=str(place),
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _place() -> Iterator[Path]:
    """A folder for a cluster, gone afterwards; those of jobs that were killed go with it.

    It is not the job's own: sockets lie in it, whose paths must be short. Who uses one holds its lock.
    """
    _clear()
    place = Path(tempfile.mkdtemp(prefix=f".{_PLACES}"))
    try:
        with (place / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = place.rename(place.with_name(place.name[1:]))  # seen by others from now on
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _clear() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{_PLACES}*"):
        with suppress(OSError):
            if left.lstat().st_uid == os.getuid():
                with (left / _LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)


def _knock(cluster: Cluster) -> None:
    """Ray itself waits for minutes where nobody is."""
    host, _, port = cluster.address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise InvalidRequest(
            f"The Ray cluster's address {cluster.address!r} is none; let this machine join the cluster ('ray start --address …') and write "
            "its head's, like 10.0.0.5:6379, into MODELYARD_RAY_ADDRESS. Ray's clients (ray://) are not used."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=min(cluster.wait_seconds, 10)).close()
    except OSError as error:
        raise Unavailable(
            f"No Ray cluster answers at {cluster.address} ({error.strerror or error}); start it with 'ray start', or mend "
            "MODELYARD_RAY_ADDRESS."
        ) from None


def _join(cluster: Cluster) -> None:
    try:
        ray.init(address=cluster.address, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        told = " ".join(str(error).split())[:300] or type(error).__name__
        raise Unavailable(f"The Ray cluster at {cluster.address} cannot be joined: {told}") from None


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """What Ray reads there, and hands on to the processes that it starts."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
