"""Where pages of the documentation run: a folder and a platform of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docs.pages import ROOT, script_of
from modelyard.testing.platform import COMMAND, quick_command
from servers import nginx

STAYING = "up|dev|demo|bench"
"""Commands that are processes to stay or to measure, and get all of what a process costs."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Place:
    """A folder with the tables, and the environment of a reader whose ports are other than the documented ones."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.port, self.management, self.grpc = folder, free_port(), free_port(), free_port()
        for table in (ROOT / "examples" / "data").glob("*.csv"):
            shutil.copy(table, folder / table.name)
        _write_program(programs / "modelyard")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")} | {
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"], str(Path(nginx.found()).parent)]),
            "MODELYARD_HOME": str(folder / "home"),
            "MODELYARD_PORT": str(self.port),
            "MODELYARD_MANAGEMENT_PORT": str(self.management),
            "MODELYARD_GRPC_PORT": str(self.grpc),
            "MODELYARD_URL": f"http://127.0.0.1:{self.management}",
            "MODELYARD_WORKERS": "2",
        }

    def run(self, script: str, seconds: float = 450) -> str:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def page(self, page: Path) -> str:
        ports = {8000: self.port, 8001: self.grpc, 8080: self.management}
        return self.run(script_of(page, {f"127.0.0.1:{port}": f"127.0.0.1:{own}" for port, own in ports.items()}))

    def stop(self) -> None:
        subprocess.run([*COMMAND, "down"], cwd=self.folder, env=self.environment, capture_output=True, timeout=60)


def _write_program(path: Path) -> None:
    """``modelyard`` of the pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staying, others = shlex.join(COMMAND), shlex.join(quick_command())
    path.write_text(f'#!/bin/sh\ncase "$1" in {STAYING}) exec {staying} "$@" ;; esac\nexec {others} "$@"\n')
    path.chmod(0o755)


@contextmanager
def served(folder: Path, programs: Path) -> Iterator[Place]:
    """Where the quickstart ends: a platform that serves ``penguins``, an admin key and a caller's key."""
    place = Place(folder, programs)
    place.environment["MODELYARD_ADMIN_KEY"] = place.environment["MODELYARD_KEY"] = "docs_admin_key_for_the_tests_only"
    try:
        place.run(
            "set -e; modelyard up --detach; modelyard train penguins.csv --target species --name penguins --family logistic;"
            "modelyard promote penguins@1 --alias champion; modelyard deploy penguins@champion"
        )
        made = place.run(
            "modelyard keys create --deployment penguins --json | python -c \"import json,sys; print(json.load(sys.stdin)['key'])\""
        )
        place.environment["CALLER_KEY"] = made.strip()
        yield place
    finally:
        place.stop()
