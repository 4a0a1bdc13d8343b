"""What passes between the members of a team and their job, wherever they are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import torch

from modelyard.core.errors import ModelyardError
from modelyard.jobs.folder import Outcome, write_atomically
from modelyard.jobs.worker import JobContext
from modelyard.train.networks.distributed.order import Order, read_order
from modelyard.train.networks.loop import Fit

ORDER = "order.pickle"
_LEARNED = "learned.pt"
_REFUSALS = "refusal-*.json"
"""One of each member that refused: all see a loss that is no number."""
STAGE = "learn"


class Learned(NamedTuple):
    """What a team leaves."""

    weights: Mapping[str, Any]
    fit: Fit


class Post(Protocol):
    """A member's way to its job. Picklable."""

    def order(self) -> Order: ...

    def report(self, share: float, told: str) -> None:
        """Tells how far the learning is; cheap to call in a loop."""

    def refuse(self, number: int, error: ModelyardError) -> None:
        """Says why a member will not go on, and that starting it again would change nothing."""

    def refused(self) -> bool:
        """Whether any member did."""

    def deliver(self, learned: Learned) -> None:
        """Hands over what was learned."""


class FolderPost:
    """Through the team's own folder, on the job's machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = JobContext(spec={}, folder=folder)

    def order(self) -> Order:
        return read_order(self._folder / ORDER)

    def report(self, share: float, told: str) -> None:
        self._context.report(STAGE, share, told)

    def refuse(self, number: int, error: ModelyardError) -> None:
        place = self._folder / _REFUSALS.replace("*", str(number))
        write_atomically(place, msgspec.json.encode(Outcome(error=error.message, code=error.code)))

    def refused(self) -> bool:
        return any(self._folder.glob(_REFUSALS))

    def refusal(self) -> Outcome | None:
        """The first one."""
        found = min(self._folder.glob(_REFUSALS), default=None)
        return None if found is None else msgspec.json.decode(found.read_bytes(), type=Outcome)

    def deliver(self, learned: Learned) -> None:
        self.lay(packed(learned))

    def lay(self, content: bytes) -> None:
        """The same, as another post carried it."""
        write_atomically(self._folder / _LEARNED, content)

    def learned(self) -> Learned:
        """What a member delivered."""
        found = torch.load(self._folder / _LEARNED, map_location="cpu", weights_only=True)
        return Learned(found["weights"], Fit(**found["fit"]))


def packed(learned: Learned) -> bytes:
    content = io.BytesIO()
    torch.save({"weights": learned.weights, "fit": asdict(learned.fit)}, content)
    return content.getvalue()
