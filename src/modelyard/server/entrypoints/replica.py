"""A replica's process: ``python -m modelyard.server.entrypoints.replica FOLDER``. Loads one model and answers workers.

Imports nothing but msgspec and NumPy besides what the model's format needs: it also runs in the environment that a model brought.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.plugins import load_string
from modelyard.core.tensors import Array
from modelyard.engines.processes import PARENT
from modelyard.observability.logging import TextFormatter
from modelyard.registry.trial import find_guess, make_inputs
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.server.lifeline import die_with
from modelyard.serving.replicas.server import ReplicaServer
from modelyard.serving.replicas.spec import SOCKET, ReplicaSpec, leave_failure
from modelyard.serving.replicas.wire import listening

logger = logging.getLogger("modelyard.replica")
UNSEAL = "modelyard.server.wiring.secrets:unsealing"
"""Imported only where there are secrets to open: it needs a library for that."""
SWITCH_SECONDS = 0.0005
"""A model that computes in Python must not keep the loop from reading for the usual 5 ms."""


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM; the exit status. Standard output and error are the replica's log."""
    owner = os.environ.get(PARENT, "")
    if owner.isdigit():
        die_with(int(owner))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    folder = Path(arguments[0])
    spec = ReplicaSpec.read(folder)
    unseal = load_string(UNSEAL)(spec.home, spec.workspace_id) if spec.sealed else None
    options = LoadOptions(threads=spec.threads, program=spec.program, unseal=unseal)
    try:
        model = RUNTIMES.get(spec.format).load(Path(spec.artifact), spec.entry, options)
    except ModelyardError as error:
        logger.error("%s", error.message)  # noqa: TRY400  # the sentence is the whole story
        leave_failure(folder, error)
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(serve(model, folder, spec))
    model.close()
    return 0


async def serve(model: LoadedModel, folder: Path, spec: ReplicaSpec) -> None:
    """Answers calls until SIGTERM, then those that came before it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = ReplicaServer(model, concurrency=spec.concurrency, trial=trial_of(model))
    gc.collect()
    gc.freeze()
    await server.serve(listening(folder / SOCKET))
    logger.info("Serves as process %d", os.getpid())
    await stop.wait()
    await server.drain(spec.drain_seconds)


def trial_of(model: LoadedModel) -> dict[str, Array] | None:
    """Inputs that the model accepts, by which its health is tried; None where none can be made up."""
    if not model.tried:
        return None
    try:
        return make_inputs(model.signature, find_guess(model), 1)
    except ModelyardError as error:
        logger.info("Its health is not tried with made-up inputs: %s", error.message)
        return None


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a runtime's threads and destructors have no say any more
