"""Every command and snippet of the documentation runs as written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import ROOT, pages, script_of

QUICKSTART = ROOT / "docs" / "quickstart.md"
HOWTOS = [page for page in pages() if page != QUICKSTART]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Place:
    """A folder with the tables, and the environment of a reader whose ports are other than the documented ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.management, self.grpc = folder, free_port(), free_port(), free_port()
        for table in (ROOT / "examples" / "data").glob("*.csv"):
            shutil.copy(table, folder / table.name)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
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
        subprocess.run(["modelyard", "down"], cwd=self.folder, env=self.environment, capture_output=True, timeout=60)


@pytest.fixture
def empty_place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop()


@pytest.fixture(scope="module")
def served_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where the quickstart ends: a platform that serves ``penguins``, an admin key and a caller's key."""
    place = Place(tmp_path_factory.mktemp("docs"))
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


@pytest.mark.timeout(240)
def test_the_quickstart_works_as_written(empty_place: Place) -> None:
    said = empty_place.page(QUICKSTART)
    assert "Adelie" in said
    assert "Gentoo" in said
    assert (empty_place.folder / "restored" / "modelyard.db").is_file()


@pytest.mark.timeout(500)
@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_a_page_works_as_written(page: Path, served_place: Place) -> None:
    served_place.page(page)
