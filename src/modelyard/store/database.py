"""One door to the database: transactions that behave the same on SQLite and PostgreSQL.

A write transaction is exclusive on both (``BEGIN IMMEDIATE``; an advisory lock), so what it has read stays true until it
commits, and two of them never deadlock. A read transaction sees one consistent state and cannot write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, exc, text

from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import AlreadyExists, Conflict, Internal, InvalidRequest, ModelyardError, Unavailable
from modelyard.store.aliases import AliasesTable
from modelyard.store.audit import AuditTable
from modelyard.store.certificates import CertificatesTable
from modelyard.store.connect import BUSY_SECONDS, WRITER_LOCK, create_store_engine
from modelyard.store.datasets import DatasetsTable
from modelyard.store.deployments import DeploymentsTable
from modelyard.store.feedback import FeedbackTable
from modelyard.store.jobs import JobsTable
from modelyard.store.keys import KeysTable
from modelyard.store.leases import LeasesTable
from modelyard.store.limits import LimitsTable
from modelyard.store.migrate import migrate
from modelyard.store.models import ModelsTable
from modelyard.store.nodes import NodesTable
from modelyard.store.pools import PoolsTable
from modelyard.store.predictions import PredictionsTable
from modelyard.store.prices import PricesTable
from modelyard.store.principals import MembershipsTable, PrincipalsTable
from modelyard.store.settings import SettingsTable
from modelyard.store.shares import SharesTable
from modelyard.store.sign_in import ProvidersTable, SignInTable
from modelyard.store.usage import UsageTable
from modelyard.store.usage_segments import UsageSegmentsTable
from modelyard.store.versions import VersionsTable
from modelyard.store.workspaces import WorkspacesTable


class Session:
    """The aggregates as one transaction sees them; valid inside its ``with`` block only, for one thread."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.workspaces = WorkspacesTable(connection, clock)
        self.models = ModelsTable(connection, clock)
        self.versions = VersionsTable(connection, clock)
        self.aliases = AliasesTable(connection, clock)
        self.datasets = DatasetsTable(connection, clock)
        self.jobs = JobsTable(connection, clock)
        self.deployments = DeploymentsTable(connection, clock)
        self.shares = SharesTable(connection, clock)
        self.feedback = FeedbackTable(connection)
        self.principals = PrincipalsTable(connection, clock)
        self.memberships = MembershipsTable(connection, clock)
        self.sign_in = SignInTable(connection)
        self.providers = ProvidersTable(connection)
        self.keys = KeysTable(connection, clock)
        self.certificates = CertificatesTable(connection, clock)
        self.audit = AuditTable(connection, clock)
        self.predictions = PredictionsTable(connection, clock)
        self.usage = UsageTable(connection, clock)
        self.usage_segments = UsageSegmentsTable(connection)
        self.limits = LimitsTable(connection, clock)
        self.leases = LeasesTable(connection, clock)
        self.pools = PoolsTable(connection, clock)
        self.prices = PricesTable(connection, clock)
        self.settings = SettingsTable(connection)
        self.nodes = NodesTable(connection, clock)


class Store:
    """A database. Safe to use from several threads, each in transactions of its own; opened once per process.

    Errors of the driver come out as Conflict, AlreadyExists, InvalidRequest or Unavailable, with the driver's error as their cause.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        # SQLite's waiting writers poll; within one process a lock lets them in without delay.
        self._writer = threading.Lock()
        self.changes = 0
        """Write transactions that this object has committed: who polls for changes of this process need not ask the database."""

    @classmethod
    def open(cls, url: str, clock: Clock | None = None) -> Store:
        """A store on ``sqlite:///PATH`` or ``postgresql://…``; creates nothing and does not connect yet.

        Raises InvalidRequest for any other URL.
        """
        return cls(create_store_engine(url), clock or SystemClock())

    def migrate(self) -> None:
        """Brings the schema to this version of Modelyard, in one transaction.

        Raises Conflict when the database is newer than this version.
        """
        with self._exclusive() as connection:
            migrate(connection, self.clock)

    def close(self) -> None:
        """Closes every connection; the store must not be used any more."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view of the database. Writing through it fails."""
        options = {"modelyard_mode": "read"}
        if self.engine.dialect.name == "postgresql":
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # type: ignore[dict-item]  # options are of any type
        with driver_errors(), self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield Session(connection, self.clock)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The only writer: commits on leaving, rolls back on an exception. Never opened inside another one of the same thread."""
        with self._exclusive() as connection:
            yield Session(connection, self.clock)

    @contextmanager
    def _exclusive(self) -> Iterator[Connection]:
        if not self._writer.acquire(timeout=BUSY_SECONDS):
            raise Unavailable(f"The database was busy for {BUSY_SECONDS:g} s; try again.", retry_after=1.0)
        try:
            with driver_errors(), self.engine.connect().execution_options(modelyard_mode="write") as connection, connection.begin():
                if self.engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = {round(BUSY_SECONDS * 1000)}"))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"))
                yield connection
            self.changes += 1
        finally:
            self._writer.release()


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turns errors of SQLAlchemy and the drivers into those of ``core.errors``, chained."""
    try:
        yield
    except ModelyardError:
        raise
    except exc.IntegrityError as error:
        raise _integrity(error) from error
    except exc.DataError as error:
        raise InvalidRequest("A value cannot be stored: a text has a NUL character or a number is out of range.") from error
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        if _cause(error) in _FULL:
            raise Unavailable("The database's disk is full, so nothing was changed; make room there.", retry_after=60.0) from error
        raise Unavailable("The database did not answer or refused the change; try again.", retry_after=1.0) from error
    except exc.DBAPIError as error:
        if _cause(error) in _DAMAGED:
            raise Unavailable("The database file is damaged or is no database; restore a backup.") from error
        if error.connection_invalidated:
            raise Unavailable("The connection to the database was lost; try again.", retry_after=1.0) from error
        raise Internal("The database refused a statement.") from error


_FULL = {"SQLITE_FULL", "53100"}
_DAMAGED = {"SQLITE_NOTADB", "SQLITE_CORRUPT"}


def _cause(error: exc.SQLAlchemyError) -> str:
    """What the driver calls it: SQLite's name of the error, or PostgreSQL's SQLSTATE; empty when it says none."""
    driver = getattr(error, "orig", None)
    return str(getattr(driver, "sqlite_errorname", None) or getattr(driver, "sqlstate", None) or "")


def _integrity(error: exc.IntegrityError) -> Conflict:
    detail = str(error.orig).lower()
    if "unique" in detail or "duplicate key" in detail:
        return AlreadyExists("A thing of this name exists already.")
    return Conflict("The change does not fit what is stored: something it names is missing or still in use.")
