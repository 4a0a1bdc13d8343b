"""What files of contracts share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from modelyard.engines import confined
from modelyard.testing.preloaded import Preloaded


@pytest.fixture(scope="module")
def quick_conversions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Confined children of this file are forks of a process that has imported the libraries in its ``PRELOADED``.

    Each confines itself before it touches a model, as ever. That libraries can be imported in confinement is seen wherever models are
    pushed to a platform.
    """
    server = Preloaded(request.module.PRELOADED, confined._environment(os.environ, tmp_path_factory.mktemp("preloaded")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "_CHILD", tuple(server.command("modelyard.engines.confined_child")))
        yield
    server.close()
