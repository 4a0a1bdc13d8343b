"""Where the demo works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelyard.cli.demo import workplace
from modelyard.core.errors import Unavailable


def entered(error: BaseException | None) -> Path:
    """The folder of a demo that ended so."""
    places = []
    try:
        with workplace() as folder:
            places.append(folder)
            if error is not None:
                raise error
    except (Unavailable, KeyboardInterrupt):
        pass
    return places[0]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_the_folder_of_a_demo_goes_with_it(error: BaseException | None) -> None:
    assert not entered(error).exists()


def test_the_folder_of_a_failed_demo_stays_because_its_logs_say_why() -> None:
    folder = entered(Unavailable("no"))
    assert folder.is_dir()
    shutil.rmtree(folder)
