"""The engine's process: starts, watches, scales and ends this machine's replica processes. No call goes through it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from modelyard.core.errors import ModelyardError
from modelyard.observability.logging import configure
from modelyard.server.channel import ChildChannel, Said
from modelyard.server.settings import Settings
from modelyard.server.wiring.engine import build
from modelyard.store.home import Home

logger = logging.getLogger("modelyard.engine")


async def run(settings: Settings, channel: ChildChannel) -> None:
    """Keeps replicas until SIGTERM, then drains them."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    fleet = build(settings, os.environ)
    channel.say(Said.READY)
    await fleet.run(stop)


def main() -> int:
    """Runs the engine of one machine; the exit status."""
    channel = ChildChannel()
    handover, settings = channel.receive()
    configure(handover.name, settings.log_level, Home(settings.home).logs)
    try:
        asyncio.run(run(settings, channel))
    except ModelyardError as error:
        logger.exception("The engine cannot start")
        channel.say(Said.FATAL, error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
