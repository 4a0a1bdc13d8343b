"""Several workers of one machine, in this process: each has a limiter and a seat of its own at the same counters."""

from __future__ import annotations

from modelyard.core.access import Action, Grant
from modelyard.core.cost import Cost
from modelyard.core.deployments import ServedDeployment
from modelyard.core.errors import LimitExceeded
from modelyard.core.limits import Measure, Scope, ServedLimit, Window
from modelyard.gate.counters import Awaited, Counters
from modelyard.gate.limiter import Limiter
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter


def grant(key_id=1, workspace_id=1, principal_id=1):
    return Grant(
        workspace_id=workspace_id,
        key_id=key_id,
        public_id=f"k{key_id}",
        actions=frozenset(Action),
        deployments=frozenset(),
        principal_id=principal_id,
    )


def limit(amount, measure=Measure.REQUESTS, window=Window.MINUTE, scope=Scope.KEY, subject_id=1, **more):
    fields = {"id": 1, "revision": 1, "workspace_id": 1, "scope": scope, "subject_id": subject_id, "subject": "it"}
    return ServedLimit(**(fields | {"measure": measure, "window": window, "amount": amount} | more))


class Machine:
    def __init__(self, folder, clock, workers=2):
        self.folder, self.clock = folder, clock
        self.workers = [Limiter(Counters(folder / "limits", capacity=64), clock) for _ in range(workers)]
        self.writer = SnapshotWriter(folder / "snapshot", clock)
        self.publish()

    def publish(self, *limits, prices=()):
        names = ("iris", "churn")
        self.writer.publish(
            SnapshotState(
                workspaces={1: "default"},
                deployments=tuple(ServedDeployment(id=i, workspace_id=1, name=n, revision=1, routes=()) for i, n in enumerate(names, 1)),
                versions=(),
                keys=(),
                limits=limits,
                prices=prices,
            )
        )
        self.snapshot = SnapshotReader(self.folder / "snapshot").load()

    def reserve(self, worker=0, key_id=1, deployment=1, **caller):
        limiter, name = self.workers[worker], ("iris", "churn")[deployment - 1]
        return limiter.reserve(limiter.plan(self.snapshot, grant(key_id, **caller), deployment, name))

    def call(self, worker=0, status=200, size=0, **cost):
        """A whole call; whether it was admitted."""
        try:
            reservation = self.reserve(worker)
        except (LimitExceeded, Awaited):
            return False
        if reservation is not None:
            reservation.settle(status, Cost(**cost), size)
        return True

    def tick(self):
        for worker in self.workers:
            worker.tick()

    def admitted(self, tries, workers=None):
        """How many of ``tries`` calls, taking turns among the workers, are admitted; idle units go round meanwhile."""
        count = 0
        for number in range(tries):
            count += self.call(number % (workers or len(self.workers)))
            self.tick()
        return count

    def close(self):
        for worker in self.workers:
            worker.close()
        self.writer.close()
