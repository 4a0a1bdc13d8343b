"""What a controller does once its foundation stands: serves the management API and runs the background work."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from modelyard.control.app import create_app
from modelyard.core.errors import ModelyardError
from modelyard.server.channel import Handover
from modelyard.server.entrance import entrance
from modelyard.server.fronts.management import ManagementServer
from modelyard.server.settings import Settings
from modelyard.server.wiring.controller import Controller, build
from modelyard.server.wiring.foundation import Foundation
from modelyard.store.nodes import BEAT_SECONDS

logger = logging.getLogger("modelyard.controller")
PUBLISH_SECONDS = 0.05
ELSEWHERE_SECONDS = 0.25
"""How long a change that another node has made may go unnoticed."""
FOLD_SECONDS = 1.0
REFUSAL_SECONDS = 1.0
SUPPLY_SECONDS = 0.02
"""So often workers' requests for more of a quota are looked for; a look costs a read of memory."""
ROLLOUT_SECONDS = 1.0
HOSTING_SECONDS = 0.05
BATCH_SECONDS = 0.2
UPKEEP_SECONDS = 600.0


def administer(foundation: Foundation, handover: Handover, ready: Callable[[], None]) -> int:
    """Runs until SIGTERM; the exit status. Calls ``ready`` when the API answers. Raises ModelyardError when it cannot start."""
    return serve(build(foundation, handover, os.environ), handover, foundation.settings, ready)


def serve(controller: Controller, handover: Handover, settings: Settings, ready: Callable[[], None]) -> int:
    """Serves the API and runs the background work until a signal ends it or some of that work dies."""
    stop = threading.Event()
    listener = socket.socket(fileno=handover.descriptor)
    server = ManagementServer(create_app(controller.services), listener, entrance(settings, "management"), ready)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    # What is loaded now stays: collections need not walk over it. They took a quarter of the controller's time under calls.
    gc.collect()
    gc.freeze()
    threads = [
        _Background("publisher", lambda: _publish(stop, controller), server),
        _Background("ledger", lambda: _repeat(stop, FOLD_SECONDS, lambda: _fold(controller)), server),
        _Background("refusals", lambda: _repeat(stop, REFUSAL_SECONDS, lambda: _take_refusals(controller)), server),
        _Background("rollouts", lambda: _repeat(stop, ROLLOUT_SECONDS, lambda: _look_at_rollouts(controller)), server),
        _Background("upkeep", lambda: _repeat(stop, UPKEEP_SECONDS, controller.upkeep), server),
        _Background("limits", lambda: _repeat(stop, SUPPLY_SECONDS, controller.supplier.tick), server),
        _Background("audit", lambda: _repeat(stop, settings.audit_sign_seconds, controller.services.audit.sign), server),
        _Background("presence", lambda: _repeat(stop, BEAT_SECONDS, controller.foundation.beat), server),
        _Background("jobs", lambda: controller.scheduler.run(stop), server),
        _Background("batches", lambda: _repeat(stop, BATCH_SECONDS, controller.batches.tick), server),
        _Background("predictions", lambda: controller.predictions.run(stop), server),
    ]
    host = controller.host
    if host is not None:
        threads.append(_Background("hosting", lambda: _repeat(stop, HOSTING_SECONDS, host.step), server))
    for thread in threads:
        thread.start()
    try:
        server.run()
    finally:
        stop.set()
        controller.scheduler.wake()
        for thread in threads:
            thread.join(settings.drain_seconds)
        _last_fold(controller, controller.foundation)
    failed = [thread.name for thread in threads if thread.failed]
    return 1 if failed else 0


def _last_fold(controller: Controller, foundation: Foundation) -> None:
    try:
        controller.ledger.fold()
        _take_refusals(controller)
        controller.services.audit.sign()
        foundation.leave()
        foundation.store.close()
    except ModelyardError as error:
        logger.warning("Usage and changes of the last moments are folded and signed at the next start: %s", error.message)


def _fold(controller: Controller) -> None:
    controller.ledger.fold()
    controller.supplier.folded()


def _take_refusals(controller: Controller) -> None:
    controller.services.refusals.write()
    controller.refusals.take()


def _look_at_rollouts(controller: Controller) -> None:
    controller.feedback.take()
    controller.services.rollouts.step()


def _publish(stop: threading.Event, controller: Controller) -> None:
    """Publishes what changed: at once where somebody waits for it, otherwise a few times a second.

    The database is asked after this process has written, and now and then because other nodes may have.
    """
    wake, store = controller.propagation.wake, controller.foundation.store
    published, until = -1, 0.0

    def step() -> None:
        nonlocal published, until
        woken = wake.wait(PUBLISH_SECONDS)
        wake.clear()
        changes, now = store.changes, time.monotonic()
        if woken or changes != published or now >= until:
            controller.foundation.publisher.publish_if_changed()
            published, until = changes, now + ELSEWHERE_SECONDS

    _repeat(stop, 0, step)


def _repeat(stop: threading.Event, seconds: float, step: Callable[[], object]) -> None:
    """Does something again and again; an error that may pass is logged once, until it works again."""
    told = False
    while not stop.wait(seconds):
        try:
            step()
            told = False
        except ModelyardError as error:
            if not told:
                logger.warning("%s", error.message)
            told = True


class _Background(threading.Thread):
    """A part of the background work. When it dies of an error, the process ends, and the supervisor starts another."""

    def __init__(self, name: str, work: Callable[[], None], server: ManagementServer) -> None:
        super().__init__(name=name, daemon=True)
        self._work, self._server = work, server
        self.failed = False

    def run(self) -> None:
        self.failed = True
        try:
            self._work()
            self.failed = False
        finally:
            if self.failed:
                logger.critical("The background work %r died; the controller ends and is started again", self.name)
                self._server.stop()
