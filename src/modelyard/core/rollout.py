"""What is measured of versions side by side, and what is decided from it: plain data between workers, controller and people."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

STEPS = 8
"""Buckets of a duration's histogram within each doubling: a quantile is told to within 9 %."""


class Tally(msgspec.Struct, kw_only=True):
    """Counts of one version's calls that weights or assignment routed to it; calls that name a version are not among them."""

    calls: int = 0
    errors: int = 0
    """Failures that were not the caller's."""
    log_sum: float = 0.0
    """Of the natural logarithm of microseconds from arrival to answer, over answered calls; and of its square."""
    log_squares: float = 0.0
    counts: dict[int, int] = {}
    """Bucket → answered calls."""

    def answered(self, taken_us: float) -> None:
        """Counts a call that was answered."""
        logarithm = math.log(taken_us if taken_us > 1.0 else 1.0)
        self.calls += 1
        self.log_sum += logarithm
        self.log_squares += logarithm * logarithm
        bucket = int(logarithm * (STEPS / math.log(2)))
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def failed(self) -> None:
        """Counts a call that failed."""
        self.calls += 1
        self.errors += 1

    def add(self, other: Tally) -> None:
        """Adds what another worker counted."""
        self.calls += other.calls
        self.errors += other.errors
        self.log_sum += other.log_sum
        self.log_squares += other.log_squares
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def error_rate(self) -> float:
        return self.errors / self.calls if self.calls else 0.0

    def quantile_ms(self, share: float) -> float:
        """The duration within which this share of answered calls was answered, at the upper end of its bucket; 0 without any."""
        left = share * sum(self.counts.values())
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return float(2 ** ((bucket + 1) / STEPS) / 1000)
        return 0.0


class ShadowTally(Tally, kw_only=True):
    """Counts of a shadow's copies."""

    dropped: int = 0
    """Copies that were not computed, because there was no room for them."""
    rows: int = 0
    """Rows compared."""
    agreed: int = 0
    """Rows in which every compared output agreed."""
    worst: float = 0.0
    """The largest difference of two numbers."""

    def merge(self, other: ShadowTally) -> None:
        """Adds what another worker counted."""
        self.add(other)
        self.dropped += other.dropped
        self.rows += other.rows
        self.agreed += other.agreed
        self.worst = max(self.worst, other.worst)

    @property
    def agreement(self) -> float:
        return self.agreed / self.rows if self.rows else 0.0


class Told(msgspec.Struct, kw_only=True):
    """What one worker counted for one deployment since its revision."""

    deployment_id: int
    revision: int
    versions: dict[int, Tally] = {}
    """By version id."""
    shadow: ShadowTally = msgspec.field(default_factory=ShadowTally)


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What users reported of one version's answers."""

    count: int = 0
    sum: float = 0.0
    squares: float = 0.0


class Verdict(StrEnum):
    """What a comparison says of the candidate."""

    UNDECIDED = "undecided"  # the data do not tell the versions apart, or not yet
    BETTER = "better"  # it is better than the others
    WORSE = "worse"  # it is worse than the others


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of an experiment: an interval that holds at every look at once."""

    metric: str
    """``errors`` (difference of rates), ``latency`` (ratio of geometric means) or ``outcome`` (difference of means)."""
    stable: float
    candidate: float
    low: float | None
    high: float | None
    """Bounds of the difference or ratio, candidate to stable; None while nothing bounds it."""
    verdict: Verdict
    note: str = ""


class VersionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One version side by side with the others."""

    version: str
    share: float
    """Of the weights, from 0 to 1; 0 for a shadow."""
    calls: int
    errors: int
    error_rate: float
    p50_ms: float
    p99_ms: float
    outcomes: int = 0
    mean_outcome: float | None = None


class ShadowStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow side by side with what answered the callers."""

    version: str
    calls: int
    errors: int
    error_rate: float
    p50_ms: float
    p99_ms: float
    dropped: int
    rows: int
    agreement: float
    worst_difference: float


class Step(StrEnum):
    """What is to be done with a rollout now."""

    NONE = "none"  # the deployment declares none
    WAIT = "wait"  # nothing yet: too few calls, or the step has not lasted long enough
    ADVANCE = "advance"  # the candidate gets more calls
    PROMOTE = "promote"  # it gets all of them
    ROLL_BACK = "roll-back"  # it gets none any more


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A step, and why."""

    step: Step
    reason: str
    percent: float = 0.0
    """Of the calls for the candidate, when it advances."""


class PastDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that was carried out, as its audit row says."""

    time_ns: int
    action: str
    actor: str
    reason: str


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment's versions stand against each other, since its last revision."""

    deployment: str
    revision: int
    since_ns: int
    candidate: str = ""
    decision: Decision
    versions: tuple[VersionStanding, ...] = ()
    shadow: ShadowStanding | None = None
    comparisons: tuple[Comparison, ...] = ()
    history: tuple[PastDecision, ...] = ()
    """Decisions carried out, newest first."""
