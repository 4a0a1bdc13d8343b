"""What a tuning is asked for and what it gives: plain data between controller and job."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.optimize.spec import Made, OptimizeSpec


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What callers must get."""

    p99_ms: float
    """Of the time of a call with one row, at ``connections`` calls at once."""
    max_loss: float = 0.01
    """Of quality, as ``spec.Tolerance`` counts it."""
    connections: int = 8
    seconds: float = 45.0
    """For all measurements together."""

    def __post_init__(self) -> None:
        for name, low, high in (("p99_ms", 0.001, 60_000), ("max_loss", 0.0, 10.0), ("connections", 1, 1024), ("seconds", 1.0, 3600.0)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"the objective {name!r} must lie between {low:g} and {high:g}")


class TuneSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tuning as it is stored."""

    start: OptimizeSpec
    """The version, without passes."""
    chains: tuple[tuple[str, ...], ...]
    """Passes in a row, each chain tried by itself; an empty one is the version as it is."""
    objective: Objective
    workers: tuple[int, ...]
    """How many workers a server has, each number tried."""
    server: tuple[str, ...]
    """Starts a platform; ``--home``, ``--port``, ``--management-port`` and ``--workers`` are put behind it."""
    load: tuple[str, ...]
    """Sends calls as its standard input plans, and tells how they went."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way of running one of the children."""

    chain: tuple[str, ...]
    workers: int
    policy: dict[str, Any]
    """The deployment's: replica processes with their threads, or nothing for inside the workers; the time that bounds a batch."""

    @property
    def title(self) -> str:
        """In a few words."""
        replicas = self.policy.get("replicas")
        where = f"{replicas['max']} process(es) of {replicas['threads']} thread(s)" if replicas else "inside the workers"
        batches = ", batches bounded" if self.policy.get("objective_ms") else ""
        return f"{' + '.join(self.chain) or 'as it is'}, {self.workers} worker(s), {where}{batches}"


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What a tuning job gives back."""

    made: tuple[Made, ...]
    """The children on the way to the chosen one, which comes last; their files are in ``output/N``."""
    tuning: dict[str, Any]
    """For the chosen one's report."""
