"""The job's side of a conversion: a confined child process does it; this side only reads its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.core.errors import InvalidArtifact
from modelyard.core.unreadable import UNREADABLE
from modelyard.engines.confined import Errand, run_confined
from modelyard.importers.spec import Outcome, Part

SECONDS = 1800.0
_WORK = "modelyard.importers.work:run"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to convert."""

    brought: str
    part: Part
    sample: str = ""
    """Path of the sample's file."""
    sample_name: str = ""
    trust: bool = False
    """Whether the model may be kept as it is, for its library to run it in a replica process."""


def convert(folder: Path, request: Request, on_stage: Callable[[str], None]) -> Outcome:
    """Converts in a child that may write ``folder`` only; the artifact is in ``folder / "made"`` then.

    Raises what the child says, or InvalidArtifact for how it ended.
    """
    (folder / "made").mkdir(parents=True)
    readable = (request.brought, *([request.sample] if request.sample else []))
    errand = Errand(work=_WORK, details=msgspec.Raw(msgspec.json.encode(request)), readable=readable, seconds=SECONDS)
    try:
        return msgspec.json.decode(run_confined(folder, errand, on_stage, doing="Converting the model"), type=Outcome)
    except UNREADABLE:
        raise InvalidArtifact(
            "What converted the model answered with nothing that can be read; the job's log has its last words."
        ) from None
