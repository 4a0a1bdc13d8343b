"""Waiting until a change is in force everywhere, so that an answer means what it says: this key works, that one no longer does."""

from __future__ import annotations

import threading
import time

from modelyard.serving.publisher import SnapshotPublisher
from modelyard.serving.reports import Reports
from modelyard.store.database import Store
from modelyard.store.settings import STATE

_LOOK_S = 0.01


class Propagation:
    """Hurries the publisher and looks at the workers' reports. Callable from any thread."""

    def __init__(self, store: Store, publisher: SnapshotPublisher, reports: Reports) -> None:
        self._store, self._publisher, self._reports = store, publisher, reports
        self.wake = threading.Event()
        """Set when there is something to publish at once."""

    def wait(self, seconds: float = 1.0) -> bool:
        """Returns when every living worker acts on all that is committed now, or after ``seconds``; whether they do.

        A worker that hangs or is just starting makes a caller wait that long and no longer: the change is durable anyway.
        """
        with self._store.read() as session:
            wanted = session.settings.count(STATE)
        until = time.monotonic() + seconds
        self.wake.set()
        while not self._reached(wanted):
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_S)
        return True

    def _reached(self, counter: int) -> bool:
        published = self._publisher.latest
        return published.counter >= counter and all(report.snapshot >= published.number for report in self._reports())
