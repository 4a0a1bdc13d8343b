"""The controller's process: the only one that writes the database. Serves the management API; runs what goes on in the background.

It stands up in two steps, because its libraries take most of a start: first the database and a snapshot, which is all that workers need to
answer calls, then everything else.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from modelyard.core.errors import ModelyardError
from modelyard.core.plugins import load_string
from modelyard.identity.first import bootstrap
from modelyard.observability.logging import configure
from modelyard.server.channel import ChildChannel, Handover, Said
from modelyard.server.wiring.foundation import Foundation, lay_foundation
from modelyard.store.home import Home

logger = logging.getLogger("modelyard.controller")
Administer = Callable[[Foundation, Handover, Callable[[], None]], int]


def main() -> int:
    """Runs until SIGTERM; the exit status."""
    channel = ChildChannel()
    handover, settings = channel.receive()
    configure(handover.name, settings.log_level, Home(settings.home).logs)
    try:
        foundation = lay_foundation(settings)
        made = bootstrap(foundation.store, foundation.clock, settings.admin_key or None, foundation.node)
        if made is not None:
            channel.say(Said.ADMIN_KEY, made)
        foundation.publisher.publish_if_changed()
        administer: Administer = load_string("modelyard.server.administration:administer")
        return administer(foundation, handover, lambda: channel.say(Said.READY))
    except ModelyardError as error:
        logger.exception("The controller cannot start")
        channel.say(Said.FATAL, error.message)
        return 1


if __name__ == "__main__":
    sys.exit(main())
