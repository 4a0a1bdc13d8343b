"""What a replica's process does once it is confined: it loads one model and answers workers.

Imports nothing but msgspec and NumPy besides what the model's format needs: it also runs in the environment that a model brought.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.plugins import load_string
from modelyard.core.tensors import Array
from modelyard.engines.confinement import why_not
from modelyard.observability.logging import TextFormatter
from modelyard.registry.trial import find_guess, make_inputs
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.serving.replicas.server import ReplicaServer
from modelyard.serving.replicas.spec import ReplicaSpec, leave_failure

logger = logging.getLogger("modelyard.replica")
UNSEAL = "modelyard.server.wiring.secrets:unsealing"
"""Imported only where there are secrets to open: it needs a library for that."""
LOOK_SECONDS = 0.5
"""How often it is looked whether what computes still lives."""
SWITCH_SECONDS = 0.0005
"""A model that computes in Python must not keep the loop from reading for the usual 5 ms."""


def run(folder: Path, listener: socket.socket, held: tuple[str, ...]) -> int:
    """Serves on a bound socket until SIGTERM; the exit status. ``held`` says what confines the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    spec = ReplicaSpec.read(folder)
    _tell_confinement(spec, held)
    unseal = load_string(UNSEAL)(spec.home, spec.workspace_id) if spec.sealed else None
    options = LoadOptions(threads=spec.threads, program=spec.program, unseal=unseal)
    try:
        model = RUNTIMES.get(spec.format).load(Path(spec.artifact), spec.entry, options)
    except ModelyardError as error:
        logger.error("%s", error.message)  # noqa: TRY400  # the sentence is the whole story
        leave_failure(folder, error)
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    why = asyncio.run(serve(model, listener, spec))
    model.close()
    return 1 if why else 0


def _tell_confinement(spec: ReplicaSpec, held: tuple[str, ...]) -> None:
    reason = why_not()
    if spec.reach == "machine":
        logger.info("Not confined: it may do what the platform's user may")
    elif reason:
        logger.warning("Not confined but by limits: %s", reason)
    else:
        logger.info("Confined by %s%s", ", ".join(held), "; it may call other hosts" if spec.reach == "network" else "")


async def serve(model: LoadedModel, listener: socket.socket, spec: ReplicaSpec) -> str:
    """Answers calls until SIGTERM, then those that came before it; why it ended, where the model did by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = ReplicaServer(model, concurrency=spec.concurrency, trial=trial_of(model))
    gc.collect()
    gc.freeze()
    await server.serve(listener)
    logger.info("Serves as process %d", os.getpid())
    why = await _until_ended(model, stop)
    if why:
        logger.error("Ends, to be started again: %s", why)
    await server.drain(spec.drain_seconds)
    return why


async def _until_ended(model: LoadedModel, stop: asyncio.Event) -> str:
    while not (why := model.ended()):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        if stop.is_set():
            return ""
    return why


def trial_of(model: LoadedModel) -> dict[str, Array] | None:
    """Inputs that the model accepts, by which its health is tried; None where none can be made up."""
    if not model.tried:
        return None
    try:
        return make_inputs(model.signature, find_guess(model), 1)
    except ModelyardError as error:
        logger.info("Its health is not tried with made-up inputs: %s", error.message)
        return None
