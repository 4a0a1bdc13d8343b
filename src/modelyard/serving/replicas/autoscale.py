"""How many replicas a version shall have: plain arithmetic over what is wanted and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelyard.core.deployments import ReplicaPolicy
from modelyard.serving.replicas.places import Demand

SMOOTH_S = 1.0
"""Over about this time demand is averaged before another replica is started; waking the first one takes no average."""

SLACK = 0.05
"""Of a replica: an average that hardly needs another one does not ask for it."""


@dataclass(slots=True)
class Scale:
    """The state of one version's scaling."""

    wanted: int = -1
    """-1 before the first look."""
    average: float = 0.0
    """Outstanding calls."""
    calls: int = 0
    called_s: float = 0.0
    """When there last was a call."""
    needed_s: float = 0.0
    """When as many as are wanted were last needed."""
    looked_s: float = 0.0

    def look(self, policy: ReplicaPolicy, demand: Demand, now_s: float) -> int:
        """How many shall run from now on.

        More as soon as the average demand asks for them; fewer when they were not needed for ``idle_seconds``, one at a time; none,
        where that is allowed, when nobody has called for as long.
        """
        if self.wanted < 0:
            self.wanted, self.called_s, self.needed_s, self.looked_s, self.calls = policy.min, now_s, now_s, now_s, demand.calls
        called = demand.outstanding > 0 or demand.calls != self.calls
        if called:
            self.calls, self.called_s = demand.calls, now_s
        share = min(1.0, (now_s - self.looked_s) / SMOOTH_S)
        self.looked_s = now_s
        self.average += share * (demand.outstanding - self.average)
        needed = min(policy.max, max(policy.min, math.ceil(self.average / policy.target - SLACK)))
        if called:
            needed = max(needed, 1)
        self.wanted = min(max(self.wanted, policy.min), policy.max)
        if needed >= self.wanted:
            self.wanted, self.needed_s = needed, now_s
        elif now_s - self.needed_s >= policy.idle_seconds and (self.wanted > 1 or now_s - self.called_s >= policy.idle_seconds):
            self.wanted, self.needed_s = self.wanted - 1, now_s
        return self.wanted
