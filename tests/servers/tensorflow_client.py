"""Real clients of TensorFlow Serving, without TensorFlow: PyPI's stubs in folders of their own; found, or installed; never skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMUNITY = ("tensorflow-serving-client-grpc==2.3.0", "protobuf==3.20.3")
"""A whole client, with stubs of TensorFlow's own messages, and the protobuf of its time."""
OFFICIAL = ("tensorflow-serving-api==2.21.0", "tensorflow-protobuf==2.11.0")
"""The official client's own stubs over a package with those of TensorFlow, in place of TensorFlow itself."""
REFLECTING = ("grpcio-reflection==1.81.1",)
"""gRPC's own client of server reflection."""


def folder(packages: tuple[str, ...]) -> list[Path]:
    """Folders to put on the path of a client's process, in order."""
    return [_installed(package) for package in packages]


def environment(packages: tuple[str, ...], client: Path) -> dict[str, str]:
    """The environment of such a process."""
    paths = [str(path) for path in (*folder(packages), client)]
    found = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    found["PYTHONPATH"] = os.pathsep.join(paths)
    return found


def _installed(package: str) -> Path:
    target = Path(tempfile.gettempdir()) / f"modelyard-{package.replace('==', '-')}-{os.geteuid()}"
    if not target.exists():
        part = Path(tempfile.mkdtemp(prefix="modelyard-tfs-"))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", part, package]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        try:
            part.rename(target)
        except OSError:  # another test process was quicker
            assert target.exists()
    return target
