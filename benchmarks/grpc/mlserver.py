"""gRPC and memory against MLServer: one load program, tritonclient in several processes, on both servers in turn.

usage: python benchmarks/grpc/mlserver.py --mlserver VENV/bin/mlserver [--rounds 3] [--seconds 4] [--processes 4]
       (prints tables, writes mlserver.json)

MLServer needs an environment of its own: pip install mlserver onnxruntime. Its runtime here is the shortest one there is: arrays of the
request into ONNX Runtime, one thread a session, as ours. It serves with two parallel workers, as we do; without them it is tried too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import psutil
from models import cifar, encoder, mlp
from platform_under_test import cpu_seconds, platform, pss_bytes

from modelyard import Client
from modelyard.testing.platform import free_port

MODELS = {"mlp": mlp, "cifar": cifar, "encoder": encoder}
SHAPES = {"mlp": ((1, 16), "FP32"), "cifar": ((1, 3, 32, 32), "FP32"), "encoder": ((1, 64), "INT64")}
RUNTIME = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        (found,) = self._session.run(None, {"x": NumpyCodec.decode_input(payload.inputs[0])})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", found)])
"""
IN_FLIGHT = 8
"""Calls of each client process."""


@contextmanager
def mlserver(command: str, models: Path, workers: int) -> Iterator[tuple[int, str]]:
    """MLServer on free ports: its process and the address of its gRPC."""
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name:
        folder = Path(name)
        (folder / "onnx_runtime.py").write_text(RUNTIME)
        port, http, metrics = free_port(), free_port(), free_port()
        settings = {"debug": False, "host": "127.0.0.1", "grpc_port": port, "http_port": http, "metrics_port": metrics}
        (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": workers}))
        for model in MODELS:
            (folder / model).mkdir()
            said = {"name": model, "implementation": "onnx_runtime.Onnx", "parameters": {"uri": str(models / f"{model}.onnx")}}
            (folder / model / "model-settings.json").write_text(json.dumps(said))
        environment = os.environ | {"PYTHONPATH": name}
        with Path(name, "log").open("wb") as log:
            process = subprocess.Popen(
                [command, "start", name], cwd=name, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            below = psutil.Process(process.pid).children(recursive=True)
            for each in (psutil.Process(process.pid), *below):  # it does not end its workers when it is told to end
                if each.is_running():
                    each.kill()
            process.wait(20)


async def load(address: str, model: str, key: str, seconds: float) -> int:
    """Calls that were answered: one connection, several in flight, each a whole tritonclient call."""
    import numpy as np
    import tritonclient.grpc.aio as grpc

    shape, kind = SHAPES[model]
    array = np.ones(shape, np.float32 if kind == "FP32" else np.int64)
    headers = {"authorization": f"Bearer {key}"} if key else None
    done, until = 0, time.monotonic() + seconds

    async with grpc.InferenceServerClient(address) as client:

        async def caller() -> None:
            nonlocal done
            while time.monotonic() < until:
                given = grpc.InferInput("x", list(shape), kind)
                given.set_data_from_numpy(array)
                answer = await client.infer(model, [given], headers=headers)
                if answer.as_numpy("y") is None:
                    raise RuntimeError("There is no output.")
                done += 1

        await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)])
    return done


def wait_until_called(address: str, key: str) -> None:
    """Calls every model until each has answered: its memory counts from then on."""
    for model in MODELS:
        until = time.monotonic() + 90
        while client_of(address, key, 0.3, model, quiet=True).wait():
            if time.monotonic() > until:
                raise RuntimeError(f"{model} at {address} does not answer.")
            time.sleep(0.5)


def client_of(address: str, key: str, seconds: float, model: str = "mlp", *, quiet: bool = False) -> subprocess.Popen[str]:
    """A process that calls a server for so long, and prints how many calls were answered."""
    command = [sys.executable, __file__, "--load", address, "--key", key, "--seconds", str(seconds), "--model", model]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True)


def measured(pid: int, address: str, key: str, options: argparse.Namespace) -> tuple[float, float]:
    """Calls a second, and microseconds of the server's processor a call."""
    before = cpu_seconds(pid)
    clients = [client_of(address, key, options.seconds) for _ in range(options.processes)]
    calls = sum(int(client.communicate()[0]) for client in clients)
    return calls / options.seconds, (cpu_seconds(pid) - before) / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlserver", default="mlserver")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--load", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--model", default="mlp")
    options = parser.parse_args()
    if options.load:
        print(asyncio.run(load(options.load, options.model, options.key, options.seconds)))
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name, platform(workers=2) as it, Client(it.url, it.admin_key) as client:
        folder = Path(name)
        for model, make in MODELS.items():
            make(folder / f"{model}.onnx")
            client.push(folder / f"{model}.onnx", model)
            client.deploy(f"{model}@1", model)
        ours = (it.process.pid, json.loads((it.home / "run" / "supervisor.json").read_bytes())["grpc_address"], it.admin_key)
        with mlserver(options.mlserver, folder, 2) as parallel, mlserver(options.mlserver, folder, 0) as alone:
            servers = {"modelyard": ours, "mlserver, 2 workers": (*parallel, ""), "mlserver, in process": (*alone, "")}
            for _, address, key in servers.values():
                wait_until_called(address, key)
            found: dict[str, list[tuple[float, float]]] = {server: [] for server in servers}
            for _ in range(options.rounds):
                for server, (pid, address, key) in servers.items():
                    found[server].append(measured(pid, address, key, options))
            memory = {server: pss_bytes(pid) for server, (pid, _, _) in servers.items()}
    document = {}
    for server, rows in found.items():
        ratio = statistics.median(mine[0] / each[0] for mine, each in zip(found["modelyard"], rows, strict=True))
        rate, cost = (statistics.median(column) for column in zip(*rows, strict=True))
        document[server] = {"calls_per_s": rate, "server_us_per_call": cost, "ours_over_it": ratio, "pss_bytes": memory[server]}
        print(
            f"{server:22s} {rate:7.0f} calls/s   {cost:6.0f} µs of the server's processor a call   "
            f"ours is {ratio:.2f} ×   PSS with all three models {memory[server] / 1e6:.0f} MB"
        )
    Path("mlserver.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
