"""What workers count of versions that are compared, on its way to the controller: one small file a worker.

The file is rewritten a moment after something was counted. A worker that takes a dead one's place goes on from its file, so a kill
loses a quarter of a second of counts at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.inference import InferResponse
from modelyard.core.rollout import Tally, Told
from modelyard.core.unreadable import UNREADABLE
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Submit, is_pin
from modelyard.store.scribe import Behind, at_once

logger = logging.getLogger(__name__)
EXPORT_SECONDS = 0.25
Later = Callable[[float, Callable[[], None]], object]
"""Runs something after so many seconds, as a loop's ``call_later`` does."""


class Tallies:
    """Everything that one worker counts for comparisons. Belongs to the event loop; its file is written ``behind`` that."""

    def __init__(self, path: Path, later: Later, behind: Behind = at_once) -> None:
        self._path, self._later, self._behind = path, later, behind
        self._told = {told.deployment_id: told for told in read_tallies(path)}
        self._scheduled = False

    def of(self, deployment_id: int, revision: int) -> Told:
        """Where to count for a deployment; counts of another revision are dropped."""
        told = self._told.get(deployment_id)
        if told is None or told.revision != revision:
            told = self._told[deployment_id] = Told(deployment_id=deployment_id, revision=revision)
            self.changed()
        return told

    def keep(self, deployments: Iterable[int]) -> None:
        """Drops what was counted for all other deployments."""
        kept = set(deployments)
        self._told = {identity: told for identity, told in self._told.items() if identity in kept}

    def changed(self) -> None:
        """Has the file written soon."""
        if not self._scheduled:
            self._scheduled = True
            self._later(EXPORT_SECONDS, self.export)

    def export(self) -> None:
        """Writes the file. A full disk delays that, no more."""
        self._scheduled = False
        if not self._behind(partial(self._write, msgspec.json.encode(list(self._told.values())))):
            self.changed()

    def _write(self, counts: bytes) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(counts)
            part.replace(self._path)
        except OSError as error:
            logger.warning("The counts of versions cannot be written: %s", error.strerror)

    def counted(self, submit: Submit, told: Told, version_id: int) -> Submit:
        """``submit``, with routed calls counted for the version."""
        tally = told.versions.setdefault(version_id, Tally())

        def counting(call: Waiting) -> None:
            version = call.request.version
            if version and not is_pin(version):
                submit(call)
                return
            done, arrived_ns = call.done, call.arrived_ns

            def ended(outcome: Any) -> None:
                if isinstance(outcome, InferResponse):
                    tally.answered((time.monotonic_ns() - arrived_ns) / 1000)
                elif not isinstance(outcome, InvalidRequest) and call.request.deadline_ns != 1:
                    tally.failed()
                self.changed()
                call.done = done  # or call and closure would hold each other
                done(outcome)

            call.done = ended
            submit(call)

        return counting


def tallies_path(folder: Path, slot: int) -> Path:
    """Where the worker of a slot keeps its counts."""
    return folder / f"tallies-{slot}.json"


def read_tallies(path: Path) -> list[Told]:
    """A worker's counts; empty when there are none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Told])
    except (OSError, *UNREADABLE):
        return []


def merged(folder: Path, deployment_id: int, revision: int) -> Told:
    """The counts of all workers, dead ones included: what they counted has happened."""
    whole = Told(deployment_id=deployment_id, revision=revision)
    for path in sorted(folder.glob("tallies-*.json")):
        for told in read_tallies(path):
            if (told.deployment_id, told.revision) == (deployment_id, revision):
                for version_id, tally in told.versions.items():
                    whole.versions.setdefault(version_id, Tally()).add(tally)
                whole.shadow.merge(told.shadow)
    return whole
