"""What a controller stands on, and all that must stand before workers can answer calls."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.core.clock import SystemClock
from modelyard.identity.keys import KeyService
from modelyard.server.settings import Settings
from modelyard.server.wiring.secrets import home_secret
from modelyard.serving.delegation import Delegation
from modelyard.serving.publisher import SnapshotPublisher
from modelyard.store.backup import migrate_after_backup
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.store.snapshot import SnapshotWriter


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What must stand before anything else of a controller: an open, current database and the stores beside it."""

    settings: Settings
    home: Home
    store: Store
    blobs: Blobs
    clock: SystemClock
    keys: KeyService
    publisher: SnapshotPublisher

    @property
    def node(self) -> str:
        """What tells this home from others on the same database."""
        return home_secret(self.home.root, "node").hex()[:32]

    def beat(self) -> None:
        """Says that this node is there."""
        with self.store.write() as session:
            session.nodes.beat(self.node)

    def leave(self) -> None:
        """Says that it has ended."""
        with self.store.write() as session:
            session.nodes.leave(self.node)


def lay_foundation(settings: Settings) -> Foundation:
    """Opens the stores and brings the database to this version.

    Raises Conflict for a newer database, Unavailable when it does not answer, InvalidRequest for URLs that cannot be used.
    """
    clock = SystemClock()
    home = Home(settings.home)
    home.create()
    store = Store.open(settings.database(), clock)
    blobs = Blobs.open(settings.blobs(), home.temporary)
    migrate_after_backup(store, blobs, home)
    delegation = Delegation(home_secret(home.root, "delegation"))
    publisher = SnapshotPublisher(store, SnapshotWriter(home.snapshot, clock), clock, delegation)
    return Foundation(
        settings=settings, home=home, store=store, blobs=blobs, clock=clock, keys=KeyService(store, clock), publisher=publisher
    )
