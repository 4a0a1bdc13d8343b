"""What an import is asked for, and what it gives: plain data between controller, job and child."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.signature import TensorSpec

AUTO = "auto"
"""The format that means: look at the content."""


BASE = "base"
"""The folder in which an adapter's base lies beside it."""


class Verdict(StrEnum):
    """What is thought of a name."""

    KNOWN = "known"  # of a library that models are made with
    UNKNOWN = "unknown"  # neither known nor on the list of dangerous ones
    DANGEROUS = "dangerous"  # runs programs, opens files or reaches the network


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A class or function that a file asks for."""

    file: str
    name: str
    verdict: Verdict


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion gave. It comes from a process that may have run anybody's code: believed as far as its pusher is."""

    entry: str
    format: str
    how: str
    confinement: tuple[str, ...]
    proof: dict[str, Any] = {}
    before_us: float = 0.0
    after_us: float = 0.0
    environment: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    reason: str = ""
    """Why it was not converted, where its own library runs it."""


class ImportSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an import is submitted with."""

    model: str
    files: dict[str, str]
    """Path inside what is brought → SHA-256 of an upload."""
    format: str = AUTO
    trust: bool = False
    """That the pusher wants a format opened that can run its maker's code; needs the right to."""
    sample: str = ""
    """SHA-256 of an upload: rows or tensors to compare the conversion on."""
    sample_name: str = ""
    signature: tuple[TensorSpec, ...] = ()
    """Inputs, where the format does not say them."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, likewise."""
    base: str = ""
    """The version that an adapter changes: ``NAME@VERSION``."""
    base_id: int = 0
    """Its id; set by the server only."""
    card: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    unconfined: bool = False
    """Set by the server only: whether its administrator accepts machines that cannot confine."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model among what was brought, as recognised; becomes one version."""

    importer: str
    """Which importer converts it."""
    folder: str = ""
    """Where it lies inside what was brought."""
    entry: str = ""
    """Its main file, inside ``folder``."""
    title: str
    """What it is, for people."""
    runs_code: str = ""
    """Why opening it can run code of its maker's; empty for mere data."""
    pickles: tuple[str, ...] = ()
    """Files inside ``folder`` to be scanned first."""
    signature: tuple[TensorSpec, ...] = ()
    """Inputs, where the pusher or the format names them."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, where the format gives them."""
    number: int = 0
    """Its version where it comes from."""
    options: dict[str, Any] = {}
    """What the importer wants to know again when it converts."""
    notes: tuple[str, ...] = ()
    """What else the pusher should know."""
    weights: tuple[str, ...] = ()
    """Files inside ``folder`` that a training can go on from: kept beside the version."""
    kept: dict[str, Any] = {}
    """What the format says beside the model (batching, version policy, environment): kept with the version's lineage."""
    policy: dict[str, Any] = {}
    """The policy of a deployment that serves it as it was served before: taken when one is made without a policy of its own."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One version to be: what ``run`` gives for each part. Its files are in ``output/N``, counted from 0."""

    part: Part
    outcome: Outcome
    findings: tuple[Finding, ...]


def attachments_of(artifact: Path) -> Path:
    """Where what is kept beside an artifact of ``output`` lies."""
    return artifact.with_name(f"{artifact.name}.attachments")
