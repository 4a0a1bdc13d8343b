"""What processes get that an engine starts for jobs and replicas: commands, and as little of the environment as they need."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from modelyard.runtimes.detect import RUNS_CODE
from modelyard.runtimes.environments import Environments, Interpreter

PROBE_MODULE = "modelyard.server.entrypoints.probe"
REPLICA_MODULE = "modelyard.server.entrypoints.replica"
PROBE = (sys.executable, "-m", PROBE_MODULE)
JOB = (sys.executable, "-m", "modelyard.server.entrypoints.job")
PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")


JOB_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of a job's sums that wait sleep meanwhile: beside workers, and other jobs, waiting in a loop takes the cores that others need."""


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of ``environment`` that such a process may see: nothing with a secret in it."""
    return {name: environment[name] for name in PASSED_ON if name in environment}


def interpreter_of(environments: Environments, folder: Path, format_name: str) -> Interpreter:
    """What runs the model in a folder: the platform's own Python, or that of the environment which the model brought.

    Raises InvalidArtifact when that cannot be built.
    """
    return environments.of(folder) if format_name in RUNS_CODE else Interpreter()
