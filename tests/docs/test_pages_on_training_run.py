"""Every command and snippet of the pages on training runs as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pages import TRAINING, howtos
from docs.places import Place


def test_the_pages_are_there() -> None:
    assert {page.stem for page in howtos(training=True)} == TRAINING


@pytest.mark.timeout(500)
@pytest.mark.parametrize("page", howtos(training=True), ids=lambda page: page.stem)
def test_a_page_works_as_written(page: Path, served_place: Place) -> None:
    served_place.page(page)
