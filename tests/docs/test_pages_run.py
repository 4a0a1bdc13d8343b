"""Every command and snippet of the documentation runs as written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import QUICKSTART, howtos
from docs.places import Place


@pytest.fixture
def empty_place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path, tmp_path_factory.mktemp("programs"))
    yield place
    place.stop()


@pytest.mark.timeout(240)
def test_the_quickstart_works_as_written(empty_place: Place) -> None:
    said = empty_place.page(QUICKSTART)
    assert "Adelie" in said
    assert "Gentoo" in said
    assert (empty_place.folder / "restored" / "modelyard.db").is_file()


@pytest.mark.timeout(500)
@pytest.mark.parametrize("page", howtos(training=False), ids=lambda page: page.stem)
def test_a_page_works_as_written(page: Path, served_place: Place) -> None:
    served_place.page(page)
