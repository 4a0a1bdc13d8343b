"""What the scheduler must know of a kind of job; the table itself is handed down by the wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.access import Action
from modelyard.core.jobs import Job

Check = Callable[[int, dict[str, Any]], dict[str, Any]]
"""(workspace id, spec as submitted) → spec as stored. Raises InvalidRequest or NotFound with one sentence."""
Inputs = Callable[[Job], Mapping[str, str]]
"""Which blobs the job's process needs: file name inside ``inputs/`` → digest."""
Rights = Callable[[Mapping[str, Any]], frozenset[Action]]
"""Spec as submitted → rights that its submitter needs besides ``develop``."""
Workers = Callable[[Mapping[str, Any]], int]
"""Spec as stored → how many processes of this machine share the work, each with the cores and GPUs that the job's limits name; 0 when
other machines do it."""
Facts = Callable[[Job], Mapping[str, Any]]
"""What an attempt's process is told beside the spec. Raises ModelyardError when the job may not go on."""
Finish = Callable[[Job, Path, dict[str, Any]], dict[str, Any]]
"""(job, its folder, the process's result) → the job's result. Stores what was made. May run twice for one job when the controller
was killed between its end and the marking of the job, so it recognises what it has stored by the job's id."""


def no_more_rights(_: Mapping[str, Any]) -> frozenset[Action]:
    """For kinds whose jobs any developer may submit."""
    return frozenset()


def no_facts(_: Job) -> Mapping[str, Any]:
    """For kinds whose spec says everything."""
    return {}


def alone(_: Mapping[str, Any]) -> int:
    """For kinds whose jobs are one process."""
    return 1


@dataclass(frozen=True)
class JobKind:
    """One line of the table of kinds."""

    run: str
    """Import string of ``run(context: JobContext) -> dict``, called in the job's process."""
    check: Check
    inputs: Inputs
    finish: Finish
    rights: Rights = no_more_rights
    workers: Workers = alone
    facts: Facts = no_facts
