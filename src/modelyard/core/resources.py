"""Amounts of a machine or a cluster: what there is, what a job needs, what a workspace may have."""

from __future__ import annotations

from typing import NamedTuple

_ROUNDING = 1e-9
"""Sums of fractions of cores are not exact."""


class Resources(NamedTuple):
    """Cores, bytes of memory and GPUs, added and compared one by one."""

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0

    def within(self, other: Resources) -> bool:
        """Whether ``other`` has as much of everything."""
        return self.cores <= other.cores + _ROUNDING and self.memory_bytes <= other.memory_bytes and self.gpus <= other.gpus

    def plus(self, other: Resources) -> Resources:
        """The sum."""
        return Resources(self.cores + other.cores, self.memory_bytes + other.memory_bytes, self.gpus + other.gpus)

    def minus(self, other: Resources) -> Resources:
        """The difference, which may be negative in parts."""
        return Resources(self.cores - other.cores, self.memory_bytes - other.memory_bytes, self.gpus - other.gpus)


NOTHING = Resources()
EVERYTHING = Resources(float("inf"), 2**63 - 1, 2**31 - 1)
"""More than any machine has: no limit."""
