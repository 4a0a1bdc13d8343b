"""SQLite and PostgreSQL alike refuse to change the audit log, and what happens behind their back is found and named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from modelyard.core.clock import ManualClock
from modelyard.core.errors import Conflict
from modelyard.core.events import Actor, AuditFault, AuditReport
from modelyard.ledger.audit import AuditLog, verify_export
from modelyard.store.audit import chain_hash
from modelyard.store.database import Session, Store
from modelyard.testing.fresh_store import FreshStore

ACTOR = Actor(name="ana", workspace_id=1, address="127.0.0.1", request_id="r1")
SEED = bytes(range(32))
TRIGGERS = {
    "sqlite": ("DROP TRIGGER {table}_no_update", "DROP TRIGGER {table}_no_delete"),
    "postgresql": ("DROP TRIGGER {table}_no_change ON {table}",),
}


def tamper(store: Store, *statements: str) -> None:
    """Runs SQL as somebody would who owns the database and has dropped what refuses it."""
    with store.write() as session:
        for table in ("audit", "audit_heads"):
            for statement in TRIGGERS[session.connection.dialect.name]:
                session.connection.execute(text(statement.format(table=table)))
        for statement in statements:
            session.connection.execute(text(statement))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


class TestAuditLog(FreshStore):
    """Rows 1 to 5 of workspace 1, signed after the third and the fifth, between rows of another workspace."""

    @pytest.fixture
    def log(self, store: Store, tmp_path: Path) -> AuditLog:
        return AuditLog(store, SEED, tmp_path / "heads.jsonl")

    @pytest.fixture
    def rows(self, store: Store, log: AuditLog, clock: ManualClock) -> list[int]:
        """Ids of the rows."""

        def append(session: Session, number: int) -> int:
            return session.audit.append(ACTOR, "key.create", f"k{number}", after={"number": number}).id

        with store.write() as session:
            other = Actor(name="bob", workspace_id=session.workspaces.create("other").id)
            found = [append(session, number) for number in range(3)]
            session.audit.append(other, "a.b", "y")
        assert log.sign() == 2
        clock.advance(60)
        with store.write() as session:
            found += [append(session, number) for number in range(3, 5)]
        assert (log.sign(), log.sign()) == (1, 0)
        return found

    def test_a_log_left_alone_is_whole(self, log: AuditLog, rows: list[int]) -> None:
        report = log.verify(1)
        assert (report.findings, report.events, report.heads) == ((), 5, 2)
        assert report.head is not None
        assert (report.head.event_id, report.head.events) == (rows[4], 5)
        assert log.verify(2).findings == ()

    @pytest.mark.parametrize("table", ["audit", "audit_heads"])
    @pytest.mark.parametrize("statement", ["UPDATE {0} SET time_ns = 1", "DELETE FROM {0}", "DELETE FROM {0} WHERE id = 1"])
    def test_the_database_refuses_to_change_the_log(self, store: Store, rows: list[int], table: str, statement: str) -> None:
        with pytest.raises(Conflict), store.write() as session:
            session.connection.execute(text(statement.format(table)))

    @pytest.mark.parametrize("column", ["time_ns", "actor", "address", "request_id", "action", "subject", "before", "after"])
    def test_a_changed_row_is_named(self, store: Store, log: AuditLog, rows: list[int], column: str) -> None:
        value = {"time_ns": "1", "before": """'{"number": 9}'""", "after": """'{"number": 9}'"""}.get(column, "'x'")
        tamper(store, f"UPDATE audit SET {column} = {value} WHERE id = {rows[1]}")
        assert told(log.verify(1)) == [(AuditFault.CHANGED, rows[1])]

    def test_a_row_that_was_moved_to_another_workspace_is_missed_here_and_does_not_fit_there(
        self, store: Store, log: AuditLog, rows: list[int]
    ) -> None:
        tamper(store, f"UPDATE audit SET workspace_id = 2 WHERE id = {rows[1]}")
        assert (AuditFault.REMOVED, rows[2]) in told(log.verify(1))
        assert {(AuditFault.CHANGED, rows[1]), (AuditFault.REMOVED, rows[1])} <= set(told(log.verify(2)))

    def test_a_row_that_was_put_in_between_does_not_fit(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store)
        with store.write() as session:
            forged = msgspec.structs.replace(session.audit.list(1)[0], actor="eve", previous_hash="0" * 64)
            names = "workspace_id, time_ns, actor, address, request_id, action, subject, before, after"
            session.connection.execute(
                text(f"INSERT INTO audit ({names}, previous_hash, hash) SELECT {names}, :previous, :hash FROM audit WHERE id = {rows[1]}"),
                {"previous": forged.previous_hash, "hash": chain_hash(forged)},
            )
        faults = {fault for fault, _ in told(log.verify(1))}
        assert faults >= {AuditFault.CHANGED, AuditFault.REMOVED}

    def test_a_removed_row_is_noticed_where_it_stood(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store, f"DELETE FROM audit WHERE id = {rows[1]}")
        report = log.verify(1)
        assert told(report) == [(AuditFault.REMOVED, rows[2])]
        assert f"behind row {rows[0]}" in next(f.text for f in report.findings if f.fault is AuditFault.REMOVED)

    def test_the_first_row_is_missed_too(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store, f"DELETE FROM audit WHERE id = {rows[0]}")
        assert told(log.verify(1)) == [(AuditFault.REMOVED, rows[1])]

    def test_what_was_done_to_one_row_hides_nothing_of_what_was_done_to_another(
        self, store: Store, log: AuditLog, rows: list[int], clock: ManualClock
    ) -> None:
        """However often the log was signed since: each of these heads counts a row more than there is."""
        for number in range(120):
            with store.write() as session:
                rows.append(session.audit.append(ACTOR, "key.create", f"more{number}").id)
            clock.advance(60)
            assert log.sign() == 1
        tamper(store, f"DELETE FROM audit WHERE id IN ({rows[1]}, {rows[50]})", f"UPDATE audit SET actor = 'x' WHERE id = {rows[-1]}")
        assert told(log.verify(1)) == [
            (AuditFault.REMOVED, rows[2]),
            (AuditFault.REMOVED, rows[50]),  # it was signed, so it is missed itself
            (AuditFault.REMOVED, rows[51]),
            (AuditFault.CHANGED, rows[-1]),
        ]

    def test_exchanged_rows_are_named(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        first, second = rows[3], rows[4]
        tamper(
            store,
            f"UPDATE audit SET id = 1000 WHERE id = {first}",
            f"UPDATE audit SET id = {first} WHERE id = {second}",
            f"UPDATE audit SET id = {second} WHERE id = 1000",
        )
        assert (AuditFault.REORDERED, first) in told(log.verify(1))

    def test_a_cut_off_end_is_noticed(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store, f"DELETE FROM audit WHERE id >= {rows[3]} AND workspace_id = 1")
        assert told(log.verify(1)) == [(AuditFault.REMOVED, rows[4])]

    def test_a_cut_off_end_is_noticed_when_its_heads_are_gone_too(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store, f"DELETE FROM audit WHERE id >= {rows[3]} AND workspace_id = 1", "DELETE FROM audit_heads")
        assert told(log.verify(1)) == [(AuditFault.REMOVED, rows[4])]

    def test_a_chain_written_anew_does_not_fit_what_was_signed(self, store: Store, log: AuditLog, rows: list[int]) -> None:
        tamper(store)
        with store.write() as session:
            previous = ""
            for event in list(session.audit.events(1)):
                forged = msgspec.structs.replace(event, actor="eve", previous_hash=previous)
                previous = chain_hash(forged)
                values = {"hash": previous, "before": forged.previous_hash, "id": event.id}
                session.connection.execute(text("UPDATE audit SET actor='eve', previous_hash=:before, hash=:hash WHERE id=:id"), values)
        assert told(log.verify(1)) == [(AuditFault.CHANGED, rows[2]), (AuditFault.CHANGED, rows[4])]

    def test_a_head_signed_with_another_key_is_not_believed(self, store: Store, log: AuditLog, rows: list[int], tmp_path: Path) -> None:
        other = AuditLog(store, bytes(32), tmp_path / "other.jsonl")
        assert other.sign() == 2
        assert told(log.verify(1)) == [(AuditFault.FORGED, rows[4])]
        assert log.verify(1, trust=[other.public_key]).findings == ()

    def test_two_nodes_that_trust_each_other_sign_in_turn_but_not_for_ever(
        self, store: Store, log: AuditLog, rows: list[int], tmp_path: Path
    ) -> None:
        other = AuditLog(store, bytes(32), tmp_path / "other.jsonl", trust=[log.public_key])
        assert [node.sign() for node in (other, log, other, log)] == [2, 0, 0, 0]
        assert other.verify(1).findings == ()

    @pytest.mark.parametrize("forget", [False, True])
    def test_an_export_is_checked_by_the_public_key_alone(self, log: AuditLog, rows: list[int], forget: bool) -> None:
        lines = list(log.export(1))
        if forget:
            del lines[1]
        report = verify_export(lines, [log.public_key])
        assert bool(report.findings) is forget
        assert told(verify_export(lines, []))[0][0] in (AuditFault.FORGED, AuditFault.REMOVED)


def told(report: AuditReport) -> list[tuple[AuditFault, int]]:
    """Faults and where they show."""
    return [(finding.fault, finding.event_id) for finding in report.findings]
