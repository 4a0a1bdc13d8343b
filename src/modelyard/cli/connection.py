"""The client that commands use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.core.errors import Unauthenticated
from modelyard.sdk.client import Client


@contextmanager
def connected(timeout: float = 60.0) -> Iterator[Client]:
    """A client by MODELYARD_URL and MODELYARD_KEY."""
    with Client(timeout=timeout) as client:
        try:
            yield client
        except Unauthenticated as error:
            if os.environ.get("MODELYARD_KEY"):
                raise
            raise Unauthenticated(
                "MODELYARD_KEY is not set; export the admin key that the first 'modelyard up' printed, "
                "or one made with 'modelyard keys create'."
            ) from error
