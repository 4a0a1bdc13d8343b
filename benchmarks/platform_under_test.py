"""Starts the real product for a benchmark, as a user would, and stops it by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, headers: dict[str, str] | None = None) -> bool:
    """Whether ``url`` answers 200."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> float:
    """Seconds until ``url`` first answered 200, looking every 10 ms."""
    began = time.perf_counter()
    while not answers(url):
        if process.poll() is not None or time.perf_counter() - began > seconds:
            raise SystemExit(f"{url} does not answer; the server's exit status is {process.poll()}")
        time.sleep(0.01)
    return time.perf_counter() - began


def pss_bytes(process: psutil.Process) -> int:
    """Proportional set size of a process and all below it (Linux)."""
    return sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)])


@dataclass
class Platform:
    url: str
    inference: str
    admin_key: str
    process: subprocess.Popen[bytes]
    home: Path
    ready_seconds: float

    def cli(self, *arguments: str) -> dict:
        """Runs the command line with ``--json``; its document."""
        environment = os.environ | {"MODELYARD_URL": self.url, "MODELYARD_KEY": self.admin_key}
        command = [sys.executable, "-m", "modelyard.cli.main", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise SystemExit(f"modelyard {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def pss(self) -> int:
        return pss_bytes(psutil.Process(self.process.pid))


@contextlib.contextmanager
def platform(workers: int = 2, **settings: str) -> Iterator[Platform]:
    """A running platform on a temporary home and free ports; extra settings become MODELYARD_ variables."""
    port, management = free_port(), free_port()
    key = "bench_" + secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        environment = os.environ | {"MODELYARD_ADMIN_KEY": key} | {f"MODELYARD_{k.upper()}": v for k, v in settings.items()}
        command = [sys.executable, "-m", "modelyard.cli.main", "up", "--home", folder, "--port", str(port)]
        command += ["--management-port", str(management), "--workers", str(workers)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        try:
            seconds = wait_for(f"http://127.0.0.1:{port}/readyz", process)
            wait_for(f"http://127.0.0.1:{management}/readyz", process)
            yield Platform(f"http://127.0.0.1:{management}", f"http://127.0.0.1:{port}", key, process, Path(folder), seconds)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
