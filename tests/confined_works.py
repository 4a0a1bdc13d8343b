"""Errands for the confined child: what somebody's model may do to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path


def details(folder: Path) -> dict[str, str]:
    return json.loads((folder / "request.json").read_bytes())["details"]


def look(folder: Path, held: tuple[str, ...]) -> bytes:
    """What it may do, by name."""
    outside = Path(details(folder)["outside"])
    tries = {
        "write outside": lambda: (outside / "written").write_text("x"),
        "read outside": (outside / "secret").read_text,
        "read what it was given": lambda: Path(details(folder)["given"]).read_text(),
        "write inside": lambda: (folder / "made").write_text("x"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
    }
    found = {}
    for name, attempt in tries.items():
        try:
            attempt()
            found[name] = True
        except OSError:
            found[name] = False
    (folder / "stage").write_text("has looked")
    return json.dumps({"may": found, "held": held, "heavy": "onnxruntime" in sys.modules}).encode()


def crash(_folder: Path, _held: tuple[str, ...]) -> bytes:
    os.abort()


def spin(_folder: Path, _held: tuple[str, ...]) -> bytes:
    while True:
        pass


def leave(_folder: Path, _held: tuple[str, ...]) -> bytes:
    os._exit(7)


def fail(folder: Path, _held: tuple[str, ...]) -> bytes:
    raise RuntimeError(f"no luck with {folder}/model.onnx")


def lie(folder: Path, _held: tuple[str, ...]) -> bytes:
    (folder / "answer.json").symlink_to("/etc/passwd")
    os._exit(0)
