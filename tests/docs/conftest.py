from __future__ import annotations

from collections.abc import Iterator

import pytest

from docs.places import Place, served


@pytest.fixture(scope="module")
def served_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What the pages of one file share."""
    with served(tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("programs")) as place:
        yield place
