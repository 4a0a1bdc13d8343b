"""The edge to libraries that load and compute models: whatever they raise becomes one of our errors, and the log has the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from modelyard.core.errors import Internal, ModelyardError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def attempt(call: Callable[[], T]) -> T | ModelyardError:
    """What ``call`` gives, or the error that came instead; an unexpected one is logged and told as Internal."""
    try:
        return call()
    except ModelyardError as error:
        return error
    except Exception as error:  # the edge to runtimes, which others write
        logger.exception("A runtime failed in a way that its seam does not allow")
        failure = Internal("The model failed on this call; the server's log has the reason.")
        failure.__cause__ = error
        return failure
