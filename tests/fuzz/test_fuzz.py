"""Inputs by the thousand over every parser; none crashes one or makes it answer 500.

``FUZZ_INPUTS`` is how many in all (CI: 20,000, always the same ones; ``make fuzz``: a million new ones, then atheris). Inputs that
once did harm stand in the corpus and are tried first, always.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fuzz.mutate import Mutator
from fuzz.targets import seeds, targets

CORPUS = Path(__file__).with_name("corpus")
FOUND = Path(os.environ.get("FUZZ_FOUND", "/tmp/modelyard-fuzz"))
INPUTS = int(os.environ.get("FUZZ_INPUTS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "1")) or time.time_ns()
TARGETS = targets()


def kept(name: str) -> list[bytes]:
    """The corpus of a target: its seeds, and what was kept."""
    first = seeds()
    pool = first.get(re.sub(r"^call-\d+-", "", name)) or first["grpc" if name.startswith("grpc") else "call"]
    return [*pool, *[file.read_bytes() for file in sorted((CORPUS / name).glob("*"))]]


@pytest.fixture
def quiet() -> Iterator[None]:
    """No log: a fault is told by its status."""
    logger = logging.getLogger("modelyard")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


@pytest.mark.usefixtures("quiet")
@pytest.mark.timeout(0 if INPUTS > 100_000 else 300)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_does_harm(name: str) -> None:
    run, pool = TARGETS[name], kept(name)
    mutator = Mutator(SEED + len(name), pool)
    share = INPUTS // len(TARGETS) + 1
    tried = b""
    try:
        for tried in pool:
            run(tried)
        for _ in range(share):
            tried = mutator.next()
            run(tried)
    except BaseException as error:
        FOUND.mkdir(parents=True, exist_ok=True)
        file = FOUND / f"{name}-{sha256(tried).hexdigest()[:12]}"
        file.write_bytes(tried)
        keep = CORPUS / name / file.name
        raise AssertionError(f"{name}: {type(error).__name__}: {error}; the input is {file}, keep it as {keep}") from error


def test_the_corpus_is_of_targets_that_exist() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= set(TARGETS)
