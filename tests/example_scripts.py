"""The scripts of ``examples``, run as a reader would against a platform."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(platform, name, *arguments, folder=None, seconds=280):
    """What it prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=platform.environment, capture_output=True, text=True, timeout=seconds, cwd=folder)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
