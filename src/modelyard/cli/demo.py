"""The whole way in one command: start the platform, train on a real table, deploy, call it over two protocols."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from modelyard.core.errors import InvalidData, ModelyardError, Unavailable
from modelyard.core.jobs import Progress as JobProgress
from modelyard.core.models import Version
from modelyard.sdk.client import Client

NAME = "penguins"
TARGET = "species"
RECORD = {
    "island": "Torgersen",
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "sex": None,  # missing on purpose: the graph imputes it
    "year": 2007,
}
START_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """Where the demo's platform lives and listens."""

    home: Path
    log: Path
    """What the platform prints; outside the home, which must be empty at its first start."""
    port: int
    management_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def inference(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def table_path() -> Path:
    """The penguins table: inside an installed package, or in a checkout's examples."""
    here = Path(__file__).resolve()
    for candidate in (here.parent / "data" / "penguins.csv", here.parents[3] / "examples" / "data" / "penguins.csv"):
        if candidate.is_file():
            return candidate
    raise InvalidData("The penguins table is missing from this installation; give a table of your own to: modelyard train")


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder that is removed in the end, unless a step failed: then the logs in it say why."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-demo-"))
    failed = False
    try:
        yield folder
    except ModelyardError:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def run_demo(home: Path | None, port: int, management_port: int, *, stay: bool) -> None:
    """Does every step for real; raises the first ModelyardError, so an exit status of 0 means that all of it worked."""
    console = Console(highlight=False, soft_wrap=True)
    with workplace() as folder:
        place = Place(home or folder / "home", folder / "platform.log", _free(port), _free(management_port))
        key = "demo_" + secrets.token_urlsafe(32)
        began = time.monotonic()
        console.print(f"[bold]1. Start[/] the platform in {place.home}")
        with _platform(place, key) as server, Client(place.url, key) as client:
            console.print(f"   inference {place.inference}, management {place.url} ({time.monotonic() - began:.1f} s)")
            version = _train(console, client)
            _show(console, version)
            caller = _deploy(console, client, version)
            _call(console, place, caller)
            console.print(f"   first predictions {time.monotonic() - began:.1f} s after the start\n")
            _explain(console, place, caller)
            if stay:
                _stay(console, server)


def _free(port: int) -> int:
    """``port`` itself when nothing listens there, otherwise one that the system chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _platform(place: Place, key: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "modelyard.cli.main", "up", "--home", str(place.home)]
    command += ["--port", str(place.port), "--management-port", str(place.management_port)]
    with place.log.open("ab") as log:
        # A session of its own, so that Ctrl-C reaches only the demo, which then stops the platform in order.
        server = subprocess.Popen(
            command,
            env=os.environ | {"MODELYARD_ADMIN_KEY": key, "MODELYARD_GRPC_PORT": "0"},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_ready(server, place)
            yield server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _wait_ready(server: subprocess.Popen[bytes], place: Place) -> None:
    until = time.monotonic() + START_SECONDS
    for url in (f"{place.url}/readyz", f"{place.inference}/readyz"):
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > until:
                tail = place.log.read_text(errors="replace")[-2000:]
                raise Unavailable(f"The platform did not start; it said:\n{tail}")
            time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _train(console: Console, client: Client) -> Version:
    table = table_path()
    console.print(f"[bold]2. Train[/] on {table.name}: 344 penguins, categories and missing values, target {TARGET!r}")
    columns = (TextColumn("   {task.description:<34}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    if not console.is_terminal:
        return client.train(table, TARGET, name=NAME, on_progress=lambda p: console.print(f"   {p.fraction:4.0%} {p.stage} {p.message}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("queued", total=1.0)

        def show(progress: JobProgress) -> None:
            bar.update(task, completed=progress.fraction, description=f"{progress.stage} {progress.message}"[:34])

        return client.train(table, TARGET, name=NAME, on_progress=show)


def _show(console: Console, version: Version) -> None:
    board = Table("family", "cross-validated", "±", "fit s", box=None, pad_edge=False)
    for entry in version.report.get("leaderboard", []):
        if entry.get("mean") is None:
            continue
        board.add_row(str(entry["family"]), f"{entry['mean']:.4f}", f"{entry.get('std', 0.0):.4f}", f"{entry.get('fit_seconds', 0.0):.2f}")
    console.print(board)
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in sorted(version.metrics.items()))
    console.print(f"   [bold]{version.reference}[/] ({version.digest[:12]}), on held-out rows: {metrics}")


def _deploy(console: Console, client: Client, version: Version) -> str:
    client.models.promote(version.reference, "champion")
    view = client.deploy(f"{version.model}@champion")
    key = client.keys.create(deployments=[view.name], label="demo", expires_seconds=24 * 3600.0)
    console.print(f"[bold]3. Deploy[/] {version.model}@champion as {view.name!r}, and a key that may call it for a day")
    return key.key


def _call(console: Console, place: Place, key: str) -> None:
    console.print("[bold]4. Call[/] it")
    headers = {"authorization": f"Bearer {key}"}
    answers = [
        ("records", f"/v1/deployments/{NAME}/predict", {"records": [RECORD]}),
        ("Open Inference v2", f"/v2/models/{NAME}/infer", {"inputs": _tensors(RECORD)}),
    ]
    for protocol, path, body in answers:
        reply = httpx.post(place.inference + path, json=body, headers=headers, timeout=10)
        if reply.status_code != httpx.codes.OK:
            raise Unavailable(f"POST {path} answered {reply.status_code}: {reply.text}")
        console.print(f"   {protocol:<18} {json.dumps(_short(reply.json()))}")


def _tensors(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The record as Open Inference tensors of one row; the null rule makes a missing text the empty string."""
    found = []
    for name, value in record.items():
        text = value is None or isinstance(value, str)
        found.append({"name": name, "shape": [1, 1], "datatype": "BYTES" if text else "FP32", "data": [value or ""] if text else [value]})
    return found


def _short(answer: dict[str, Any]) -> Any:
    if "predictions" in answer:
        return answer["predictions"][0]
    return {output["name"]: output["data"] for output in answer["outputs"]}


def _explain(console: Console, place: Place, key: str) -> None:
    url = f"{place.inference}/v1/deployments/{NAME}/predict"
    python = f"from modelyard import Client; print(Client({place.url!r}, {key!r}).predict({NAME!r}, [{RECORD!r}]))"  # the caller's own key
    console.print("Call it yourself:\n")
    console.print(f"curl -s {url} -H 'Authorization: Bearer {key}' -d '{json.dumps({'records': [RECORD]})}'", soft_wrap=True, markup=False)
    # The interpreter by its path: the one that can import Modelyard is seldom the shell's own.
    console.print(f'\n{shlex.quote(sys.executable)} -c "{python}"', soft_wrap=True, markup=False)


def _stay(console: Console, server: subprocess.Popen[bytes]) -> None:
    try:
        console.print("\nServing until Ctrl-C.")
        server.wait()
    except KeyboardInterrupt:
        return
    raise Unavailable("The platform stopped by itself; see the logs in its home.")
