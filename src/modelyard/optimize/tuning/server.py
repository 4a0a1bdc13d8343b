"""A real server for trials: a platform in a folder of its own, on free ports of loopback, gone when the trials are."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np

from modelyard.core.deployments import Target
from modelyard.core.errors import JobFailed
from modelyard.core.models import Version
from modelyard.core.tensors import Array, Datatype
from modelyard.sdk.client import Client
from modelyard.sdk.wire import encode_call

_START_SECONDS = 90.0
_MODEL = "candidate"
_KEPT = "MODELYARD_JOB"
"""The mark by which a job's processes are found and ended, whatever happens to the job."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How one way of running answered."""

    p50_ms: float
    p99_ms: float
    per_second: float
    failed: int
    why: str = ""


class TrialServer:
    """Use it as a context manager. Raises JobFailed when it does not start."""

    def __init__(self, command: Sequence[str], workers: int, load: Sequence[str]) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="modelyard-tune-"))  # short, because sockets lie in it
        self._load = list(load)
        port, management = _free_ports(2)
        self._url, self._inference = f"http://127.0.0.1:{management}", f"http://127.0.0.1:{port}"
        self._key = "tune_" + secrets.token_urlsafe(24)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_") or name == _KEPT}
        environment |= {"MODELYARD_ADMIN_KEY": self._key, "MODELYARD_GRPC_PORT": "0"}
        told = ["--home", str(self._root / "home"), "--workers", str(workers), "--port", str(port), "--management-port", str(management)]
        self._process = subprocess.Popen([*command, *told], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._client: Client | None = None

    def __enter__(self) -> TrialServer:
        end = time.monotonic() + _START_SECONDS
        while not all(_answers(f"{url}/readyz") for url in (self._url, self._inference)):
            if self._process.poll() is not None or time.monotonic() > end:
                self._end()
                raise JobFailed("The server for the trials did not start; the job's log has its last words.")
            time.sleep(0.1)
        self._client = Client(self._url, self._key, inference_url=self._inference)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            self._client.close()
        self._end()

    def deploy(self, name: str, file: Path, policy: Mapping[str, Any]) -> Version:
        """Serves a model; the same file again is the same version. Raises ModelyardError."""
        client = self._need()
        version = client.push(file, _MODEL)
        client.deployments.put(name, [Target(model=version.model, version=str(version.number))], policy=dict(policy))
        client.deployments.wait(name, timeout=_START_SECONDS)
        return version

    def undeploy(self, name: str) -> None:
        """Stops serving it."""
        self._need().deployments.delete(name)

    def measure(self, name: str, version: Version, connections: int, seconds: float) -> Measured:
        """So many calls at once, as fast as answers come."""
        base = urlsplit(self._inference)
        plan = {
            "host": base.hostname,
            "port": base.port,
            "tls": False,
            "request": self._request(name, version, base.netloc),
            "connections": connections,
            "seconds": seconds,
            "warm_seconds": min(0.5, seconds / 4),
        }
        done = subprocess.run(self._load, input=msgspec.json.encode(plan), stdout=subprocess.PIPE, timeout=seconds + 60, check=False)
        if done.returncode:
            raise JobFailed(f"The process that sends calls ended with status {done.returncode}; the job's log has its last words.")
        told = msgspec.json.decode(done.stdout)
        times = np.sort(np.asarray(told["durations_us"], np.float64)) / 1000
        broken = told["failed"] + told["refused"]
        if not len(times):
            return Measured(p50_ms=np.inf, p99_ms=np.inf, per_second=0.0, failed=broken or 1, why=told["first_failure"] or "no answer came")
        p50, p99 = np.quantile(times, [0.5, 0.99])
        rate = len(times) / told["seconds"]
        return Measured(p50_ms=float(p50), p99_ms=float(p99), per_second=rate, failed=broken, why=told["first_failure"])

    def _request(self, name: str, version: Version, host: str) -> bytes:
        arrays, datatypes = made_up(version)
        body, headers = encode_call(arrays, datatypes, ())
        head = [f"POST /v2/models/{name}/infer HTTP/1.1", f"host: {host}", f"authorization: Bearer {self._key}"]
        head += [f"content-length: {len(body)}", *(f"{field}: {value}" for field, value in headers.items())]
        return "\r\n".join([*head, "", ""]).encode() + body

    def _need(self) -> Client:
        if self._client is None:
            raise TypeError("The server is not started.")
        return self._client

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._root, ignore_errors=True)


def made_up(version: Version) -> tuple[dict[str, Array], dict[str, Datatype]]:
    """One row that fits the signature."""
    random = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for spec in version.signature.inputs:
        shape = [size if isinstance(size, int) and size >= 0 else 1 for size in spec.wire_shape]
        kind = spec.datatype.numpy
        if spec.datatype is Datatype.BYTES:
            arrays[spec.name] = np.full(shape, "", dtype=object)
        else:
            arrays[spec.name] = (random.random(shape) if kind.kind == "f" else random.integers(0, 2, shape)).astype(kind)
    return arrays, {spec.name: spec.datatype for spec in version.signature.inputs}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
