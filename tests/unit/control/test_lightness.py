"""The management API stays free of what only jobs and probes need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"sklearn", "onnxruntime", "onnx", "matplotlib", "pandas", "pyarrow", "torch", "ray", "skl2onnx", "scipy", "rich", "typer"}


def test_the_api_loads_nothing_that_trains_or_runs_models() -> None:
    code = "import modelyard.control.app, sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
