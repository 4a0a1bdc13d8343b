"""The synchronous client is what its source says, and the package stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_generated_files_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "unasync.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after ``code``."""
    script = f"{code}\nimport sys; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded("import modelyard") & {"numpy", "httpx", "msgspec", "pydantic", "fastapi", "sqlalchemy", "onnxruntime", "rich"}


def test_the_client_needs_no_part_of_the_server() -> None:
    found = loaded("from modelyard.sdk.client import Client")
    assert not found & {"fastapi", "sqlalchemy", "onnxruntime", "onnx", "uvicorn", "sklearn", "typer"}
