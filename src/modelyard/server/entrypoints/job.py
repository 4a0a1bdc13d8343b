"""A job's process: ``python -m modelyard.server.entrypoints.job FOLDER IMPORT_STRING``."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from modelyard.engines.processes import PARENT
from modelyard.jobs.worker import run_job
from modelyard.observability.logging import TextFormatter
from modelyard.server.lifeline import die_with


def main(arguments: list[str]) -> int:
    """Runs one job and returns its exit status; standard output and error are the job's log."""
    owner = os.environ.get(PARENT, "")
    if owner.isdigit():
        die_with(int(owner))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(capture=True)
    folder, reference = arguments
    return run_job(Path(folder), reference)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # The result is written: taking down the heavy libraries takes a second or two, and is of no use to anybody.
