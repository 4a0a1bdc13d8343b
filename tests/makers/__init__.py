"""Artifacts of libraries that a test's own process should not load: each maker is a script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def make(name: str, folder: Path, **environment: str) -> Path:
    """Runs a maker on a folder, which it fills."""
    script = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], env=os.environ | environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
