"""Real servers for the tests that need them, started when first asked for, once in each test process."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from servers import postgres, s3

pytest.register_assert_rewrite("modelyard.testing")

# Machines of tests are shared: how long an example takes says nothing.
settings.register_profile("modelyard", deadline=None)
# `make fuzz`: the same properties on many more inputs.
settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "modelyard"))

LONGEST = ("docs", "acceptance", "integration/train", "integration/optimize", "unit/train", "unit/optimize", "contract", "integration")
"""Folders whose files take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that processes that run files side by side end together."""

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((at for at, folder in enumerate(LONGEST) if place.startswith(f"{folder}/")), len(LONGEST))

    items.sort(key=rank)


SWALLOWED_S = 90.0


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """A test out of time fails in its place also where an event loop swallows what the alarm raises, as uvloop and callbacks do.

    The first alarm leaves it time to stop what it has started; the second ends a loop.
    """
    made = yield
    fails = signal.getsignal(signal.SIGALRM)

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, second)
        signal.setitimer(signal.ITIMER_REAL, SWALLOWED_S)
        if callable(fails):
            fails(number, frame)

    def second(number: int, frame: FrameType | None) -> None:
        raise SystemExit("The test ran out of time, and went on.")

    if callable(fails) and signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.signal(signal.SIGALRM, first)
    return made


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.PostgresServer) -> Iterator[str]:
    """A new, empty PostgreSQL database."""
    url = postgres_server.database()
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    with s3.running() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: s3.S3Server) -> str:
    """A new, empty S3 bucket."""
    return s3_server.bucket()
