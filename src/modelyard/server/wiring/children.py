"""What processes get that an engine starts for jobs and replicas: commands, and as little of the environment as they need."""

from __future__ import annotations

import sys
from collections.abc import Mapping

PROBE = (sys.executable, "-m", "modelyard.server.entrypoints.probe")
JOB = (sys.executable, "-m", "modelyard.server.entrypoints.job")
REPLICA = (sys.executable, "-m", "modelyard.server.entrypoints.replica")
PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of ``environment`` that such a process may see: nothing with a secret in it."""
    return {name: environment[name] for name in PASSED_ON if name in environment}
