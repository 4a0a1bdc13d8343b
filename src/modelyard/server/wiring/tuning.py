"""The controller's side of ``tune``: which version, which chains of passes, what server, and how the choice is stored."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.jobs import Job
from modelyard.jobs.kinds import JobKind
from modelyard.optimize.tuning.spec import Objective, Tuned, TuneSpec
from modelyard.registry.service import TUNING
from modelyard.server.wiring.optimizing import Brought, OptimizeJobs

SERVER = (sys.executable, "-m", "modelyard.cli.main", "up")
LOAD = (sys.executable, "-m", "modelyard.cli.bench_load")
_USUAL = (("graph",), ("int8",), ("graph", "int8"))
_MOST_CHAINS = 8
_MOST_WORKERS = 4


class _Wanted(Brought, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tuning as it is submitted."""

    objective: Objective
    chains: tuple[tuple[str, ...], ...] = ()
    workers: tuple[int, ...] = ()


@dataclass(frozen=True)
class TuneJobs:
    """Opens no model: the job's processes do."""

    optimizing: OptimizeJobs
    cores: int

    def kind(self) -> JobKind:
        return JobKind(run="modelyard.optimize.tuning.job:run", check=self.check, inputs=self.inputs, finish=self.finish)

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{version, objective: {p99_ms, max_loss?, connections?, seconds?}, chains?: [["int8"], …], workers?: [1, 2]}``, and
        ``calibration``, ``target`` and ``metric`` as an optimization has them.

        Raises InvalidRequest, NotFound, and Conflict for a version that is flagged.
        """
        try:
            wanted = msgspec.convert(spec, _Wanted)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The tuning cannot be done as it is written: {error}.") from None
        chains = wanted.chains or _USUAL
        workers = wanted.workers or tuple(sorted({1, self.cores}))
        if len(chains) > _MOST_CHAINS or len(workers) > _MOST_WORKERS or not all(1 <= count <= 64 for count in workers):
            raise InvalidRequest(
                f"A tuning tries at most {_MOST_CHAINS} chains of passes and {_MOST_WORKERS} numbers of workers, each from 1 to 64."
            )
        start = self.optimizing.with_rows(workspace_id, self.optimizing.specified(workspace_id, wanted.version, ()), wanted)
        for chain in chains:
            self.optimizing.check_passes(list(chain))
        made = TuneSpec(
            start=start,
            chains=tuple(dict.fromkeys(chains)),
            objective=wanted.objective,
            workers=workers,
            server=SERVER,
            load=LOAD,
        )
        return dict(msgspec.to_builtins(made))

    def inputs(self, job: Job) -> Mapping[str, str]:
        return self.optimizing.files(msgspec.convert(job.spec, TuneSpec).start)

    def finish(self, job: Job, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """Stores the chosen child, and those on the way to it; a second time finds them."""
        tuned = msgspec.convert(result, Tuned)
        spec = msgspec.convert(job.spec, TuneSpec)
        stored = self.optimizing.stored(job, folder, spec.start, list(tuned.made), {TUNING: tuned.tuning})
        return {
            "model": spec.start.model,
            "version": stored[-1].number,
            "parent": spec.start.number,
            "versions": [version.number for version in stored],
            "met": tuned.tuning["met"],
        }
