"""Starts the real product as a user does and stops it by its process id: for acceptance tests and benchmarks."""

from __future__ import annotations

import functools
import json
import os
import pkgutil
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard import cli
from modelyard.testing.preloaded import Preloaded

_GUARDED = {"tls_certificate", "socket", "management_socket", "allow_networks", "management_allow_networks", "deny_networks"}
"""Settings with which the listeners do not simply answer anybody."""
COMMAND = [sys.executable, "-m", "modelyard.cli.main"]


@functools.cache
def quick_command() -> list[str]:
    """``COMMAND`` without the time that its imports take, for commands that talk to a platform and end; where that goes."""
    if sys.platform != "linux":
        return COMMAND
    return Preloaded([f"modelyard.cli.{module.name}" for module in pkgutil.iter_modules(cli.__path__)]).command("modelyard.cli.main")


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether ``url`` answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - only ever a loopback address of ours
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 40) -> float:
    """Seconds until ``url`` first answered 200; raises RuntimeError when it does not or the process ends first."""
    began = time.perf_counter()
    while not answers(url):
        if process.poll() is not None:
            raise RuntimeError(f"{url} does not answer: the server ended with status {process.returncode}")
        if time.perf_counter() - began > seconds:
            raise RuntimeError(f"{url} does not answer after {seconds} s")
        time.sleep(0.01)
    return time.perf_counter() - began


def wait_until_ready(home: Path, process: subprocess.Popen[bytes], seconds: float = 60) -> tuple[dict[str, Any], float]:
    """What the platform on a home says of itself once it is ready, and after how many seconds; for listeners that are not plain HTTP."""
    began = time.perf_counter()
    file = home / "run" / "supervisor.json"
    while not (file.exists() and json.loads(file.read_bytes())["ready"]):
        if process.poll() is not None:
            raise RuntimeError(f"The platform on {home} ended with status {process.returncode}")
        if time.perf_counter() - began > seconds:
            raise RuntimeError(f"The platform on {home} is not ready after {seconds} s")
        time.sleep(0.02)
    return json.loads(file.read_bytes()), time.perf_counter() - began


@dataclass
class RunningPlatform:
    """A platform in a process tree of its own."""

    home: Path
    url: str
    """Of the management API."""
    inference: str
    admin_key: str
    process: subprocess.Popen[bytes]
    ready_seconds: float
    """From starting the process to the first 200 of the inference listener's ``/readyz``."""
    environment: dict[str, str]

    def run(self, *arguments: str, check: bool = True, key: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the command line against this platform."""
        environment = self.environment | ({"MODELYARD_KEY": key} if key else {})
        done = subprocess.run(
            [*quick_command(), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"modelyard {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        """The document that a command prints with ``--json``."""
        return json.loads(self.run(*arguments, "--json").stdout)


@contextmanager
def running_platform(home: Path, *, workers: int = 2, settings: Mapping[str, str] | None = None) -> Iterator[RunningPlatform]:
    """A platform on ``home`` and free ports; ``settings`` become ``MODELYARD_`` variables."""
    port, management = free_port(), free_port()
    settings = {"grpc_port": "0"} | dict(settings or {})
    key = "test_" + secrets.token_urlsafe(24)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    environment = inherited | {"MODELYARD_ADMIN_KEY": key} | {f"MODELYARD_{name.upper()}": value for name, value in settings.items()}
    command = [*COMMAND, "up", "--home", str(home), "--workers", str(workers)]
    command += ["--port", str(port), "--management-port", str(management)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        if _GUARDED.isdisjoint(settings):
            url, inference = f"http://127.0.0.1:{management}", f"http://127.0.0.1:{port}"
            seconds = wait_until_answers(f"{inference}/readyz", process)
            wait_until_answers(f"{url}/readyz", process)
        else:
            state, seconds = wait_until_ready(home, process)
            url, inference = state["management_url"], state["inference_url"]
        client = inherited | {"MODELYARD_URL": url, "MODELYARD_KEY": key, "MODELYARD_HOME": str(home)}
        yield RunningPlatform(home, url, inference, key, process, seconds, client)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise
