"""A worker's process: answers inference calls, and does nothing else."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvloop

from modelyard.core.errors import ModelyardError
from modelyard.observability.logging import configure
from modelyard.server.channel import ChildChannel, Handover, Said
from modelyard.server.settings import Settings
from modelyard.server.wiring.worker import Worker, build
from modelyard.store.home import Home

logger = logging.getLogger("modelyard.worker")
EXPORT_SECONDS = 0.5
TICK_SECONDS = 0.025
"""How long units of limits lie idle in one worker before others can use them."""
SETTLE_SECONDS = 15.0
"""After this time a worker accepts calls although some version still loads; calls of that one are told so."""


async def run(settings: Settings, handover: Handover, channel: ChildChannel) -> int:
    """Serves until SIGTERM, then answers what is under way; the exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    worker = build(settings, handover)
    reconciling = loop.create_task(worker.reconciler.run())
    exporting = loop.create_task(_export(worker))
    ticking = loop.create_task(_tick(worker))
    ended = loop.create_task(stop.wait())
    settled = loop.create_task(worker.reconciler.settled.wait())
    await asyncio.wait({settled, ended, reconciling}, timeout=SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    # What is loaded now stays: a full collection should not walk over it while calls wait.
    gc.collect()
    gc.freeze()
    if not ended.done() and not reconciling.done():
        for acceptor in worker.acceptors:
            acceptor.start()
        if worker.grpc is not None:
            await worker.grpc.start()
        await asyncio.wait({settled, ended, reconciling}, return_when=asyncio.FIRST_COMPLETED)
        if settled.done():
            channel.say(Said.READY)
        await asyncio.wait({ended, reconciling, exporting, ticking}, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in (reconciling, exporting, ticking) if task.done()]
    for task in failed:
        logger.critical("The worker's own work died; it ends and is started again", exc_info=task.exception())
    await _end(worker, settings, [reconciling, exporting, ticking, settled, ended])
    return 1 if failed else 0


async def _end(worker: Worker, settings: Settings, tasks: Sequence[asyncio.Task[Any]]) -> None:
    carried = worker.grpc.drain(settings.drain_seconds) if worker.grpc is not None else asyncio.sleep(0)
    cut_off, _ = await asyncio.gather(worker.front.drain(settings.drain_seconds), carried)
    if cut_off:
        logger.warning("%d calls were cut off after %g s of draining", cut_off, settings.drain_seconds)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    worker.telemetry.close()
    worker.scribe.close()
    worker.limiter.close()
    worker.journal.close()


async def _tick(worker: Worker) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        worker.limiter.tick()


async def _export(worker: Worker) -> None:
    while True:
        worker.telemetry.export()
        worker.balancer.look()
        if worker.certificates is not None:
            worker.certificates.refresh()
        await asyncio.sleep(EXPORT_SECONDS)


def main() -> int:
    """Runs one worker; the exit status."""
    channel = ChildChannel()
    handover, settings = channel.receive()
    configure(handover.name, settings.log_level, Home(settings.home).logs, behind=True)
    try:
        return uvloop.run(run(settings, handover, channel))
    except ModelyardError as error:
        logger.exception("The worker cannot start")
        channel.say(Said.FATAL, error.message)
        return 1


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # a runtime's threads and destructors have no say any more
