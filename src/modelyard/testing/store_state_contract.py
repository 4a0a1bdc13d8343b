"""What every database must do for the rest of the platform: jobs, deployments, keys, audit, predictions, usage.

Subclass ``StoreStateContract`` as ``store_contract.StoreContract``.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import msgspec
import numpy as np
import pytest

from modelyard.core.access import Action, Key
from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import AlreadyExists, Conflict, InvalidRequest, ModelyardError, NotFound
from modelyard.core.events import Actor
from modelyard.core.jobs import Job, JobStatus, Limits, Progress, WorkspacePool
from modelyard.store.database import Session, Store
from modelyard.store.nodes import GONE_SECONDS
from modelyard.store.predictions import Prediction, PredictionStatus
from modelyard.store.usage import UsageMinute
from modelyard.store.usage_sums import DAY, MONTH, WHOLE, Wanted, start_of
from modelyard.testing.fresh_store import FreshStore

ACTOR = Actor(name="ana", workspace_id=1, address="127.0.0.1", request_id="r1")


def job(**changes: object) -> Job:
    """A queued job."""
    fields: dict[str, object] = {"id": 0, "workspace_id": 1, "kind": "train", "spec": {"target": "species"}}
    return Job(**(fields | changes))  # type: ignore[arg-type]  # the test says what it means


def key(public_id: str, digest: str, **changes: object) -> Key:
    """A key."""
    fields: dict[str, object] = {"id": 0, "workspace_id": 1, "public_id": public_id, "digest": digest * 64}
    return Key(**(fields | changes))  # type: ignore[arg-type]  # the test says what it means


def deployment(name: str, workspace_id: int = 1) -> Deployment:
    """A deployment that follows an alias."""
    return Deployment(id=0, workspace_id=workspace_id, name=name, targets=(Target(model="m", version="champion"),), policy={"a": 1})


class StoreStateContract(FreshStore):
    """Aggregates of everything but the registry."""

    def test_a_job_comes_back_as_it_was_stored(self, session: Session) -> None:
        made = session.jobs.add(job(priority=3, limits=Limits(memory_bytes=2**33, wall_seconds=1.5), created_by="ana"))
        assert session.jobs.get(1, made.id) == made
        assert session.jobs.get(None, made.id) == made
        assert session.jobs.get(2, made.id) is None

    def test_jobs_are_found_by_state_and_age(self, session: Session) -> None:
        ids = [session.jobs.add(job(priority=priority)).id for priority in (0, 5, 0, 5)]
        session.jobs.update(ids[0], status=JobStatus.CANCELLED)
        assert session.jobs.waiting_ids() == ids[1:]
        assert [found.id for found in session.jobs.several([ids[2], ids[0]])] == [ids[0], ids[2]]
        assert session.jobs.several([]) == []
        assert [found.id for found in session.jobs.list(1, limit=2)] == [ids[3], ids[2]]
        assert [found.id for found in session.jobs.list(1, before_id=ids[2])] == [ids[1], ids[0]]
        assert [found.id for found in session.jobs.list(1, status=JobStatus.CANCELLED)] == [ids[0]]
        assert session.jobs.list(2) == []
        assert [found.id for found in session.jobs.unended()] == ids[1:]

    def test_nodes_are_there_until_they_leave_or_fall_silent(self, session: Session, clock: ManualClock) -> None:
        session.nodes.beat("first")
        session.nodes.beat("second")
        assert session.nodes.others("first") == ["second"]
        session.nodes.leave("second")
        assert session.nodes.others("first") == []
        session.nodes.beat("second")
        clock.advance(GONE_SECONDS - 1)
        session.nodes.beat("first")
        assert session.nodes.others("third") == ["first", "second"]
        clock.advance(1)
        assert session.nodes.others("third") == ["first"]

    def test_the_last_jobs_that_succeeded_come_oldest_first(self, session: Session) -> None:
        ids = [session.jobs.add(job()).id for _ in range(4)]
        for job_id in ids[:3]:
            session.jobs.update(job_id, status=JobStatus.RUNNING)
            session.jobs.update(job_id, status=JobStatus.SUCCEEDED)
        assert [found.id for found in session.jobs.succeeded(2)] == ids[1:3]

    def test_a_pool_replaces_the_one_before(self, session: Session) -> None:
        assert session.pools.get(1) == WorkspacePool(workspace_id=1)
        session.pools.set(WorkspacePool(workspace_id=1, cores=1.5, share=2.0))
        made = session.pools.set(WorkspacePool(workspace_id=1, memory_bytes=2**40, gpus=1, jobs=3))
        assert made.updated_ns > 0
        assert session.pools.get(1) == made
        assert session.pools.all() == [made]
        session.pools.remove(1)
        assert session.pools.all() == []

    def test_jobs_make_legal_moves_only(self, session: Session) -> None:
        made = session.jobs.add(job())
        progress = Progress(stage="fit", fraction=0.5)
        running = session.jobs.update(made.id, expect=JobStatus.QUEUED, status=JobStatus.RUNNING, pid=7, progress=progress, attempt=1)
        assert session.jobs.get(1, made.id) == running
        assert (running.pid, running.progress) == (7, progress)
        with pytest.raises(Conflict):
            session.jobs.update(made.id, expect=JobStatus.QUEUED, status=JobStatus.RUNNING)
        ended = session.jobs.update(made.id, status=JobStatus.SUCCEEDED, result={"model": "m"}, ended_ns=5)
        assert ended.result == {"model": "m"}
        with pytest.raises(Conflict):
            session.jobs.update(made.id, status=JobStatus.RUNNING)
        with pytest.raises(NotFound):
            session.jobs.update(999, pid=1)

    def test_deployments_are_changed_by_revision(self, session: Session, clock: ManualClock) -> None:
        made = session.deployments.add(deployment("penguins"))
        assert session.deployments.get(1, "penguins") == made
        clock.advance(1)
        changed = session.deployments.update(msgspec.structs.replace(made, policy={"b": 2}), made.revision)
        assert (changed.revision, changed.policy, changed.created_ns) == (2, {"b": 2}, made.created_ns)
        assert changed.updated_ns == clock.time_ns()
        assert session.deployments.get(1, "penguins") == changed
        with pytest.raises(Conflict):
            session.deployments.update(changed, made.revision)
        with pytest.raises(AlreadyExists):
            session.deployments.add(deployment("penguins"))
        with pytest.raises(InvalidRequest):
            session.deployments.add(deployment("No Name"))
        with pytest.raises(NotFound):
            session.deployments.update(deployment("other"), 1)

    def test_deployments_belong_to_their_workspace(self, session: Session) -> None:
        other = session.workspaces.create("other").id
        mine, theirs = session.deployments.add(deployment("a")), session.deployments.add(deployment("a", other))
        assert session.deployments.list(1) == [mine]
        assert session.deployments.all() == [mine, theirs]
        session.deployments.remove(1, "a")
        assert session.deployments.all() == [theirs]
        with pytest.raises(NotFound):
            session.deployments.remove(1, "a")

    def test_keys_are_active_until_revoked_or_expired(self, session: Session, clock: ManualClock) -> None:
        now = clock.time_ns()
        forever = session.keys.add(key("k1", "a", actions=(Action.INFER, Action.READ), deployments=("penguins",), label="app"))
        session.keys.add(key("k2", "b", expires_ns=now))
        soon = session.keys.add(key("k3", "c", expires_ns=now + 1))
        assert session.keys.get(1, "k1") == forever
        assert session.keys.get(2, "k1") is None
        assert session.keys.active(now) == [forever, soon]
        revoked = session.keys.revoke(1, "k1", now)
        assert session.keys.revoke(1, "k1", now + 9) == revoked
        assert session.keys.active(now) == [soon]
        assert session.keys.changed_since(0) == [*session.keys.list(1), *session.keys.list(2)]
        before = session.settings.count("state")
        assert session.keys.changed_since(before) == []
        revoked = session.keys.revoke(soon.workspace_id, soon.public_id, now)
        assert session.keys.changed_since(before) == [revoked]
        assert [found.public_id for found in session.keys.list(1)] == ["k1", "k2", "k3"]
        with pytest.raises(NotFound):
            session.keys.revoke(2, "k3", now)

    def test_keys_share_neither_name_nor_secret(self, session: Session) -> None:
        session.keys.add(key("k1", "a"))
        for taken in (key("k1", "b"), key("k2", "a")):
            with pytest.raises(AlreadyExists):
                session.keys.add(taken)

    def test_keys_remember_the_latest_time_that_they_were_used(self, session: Session) -> None:
        early, late, never = (session.keys.add(key(name, name[-1])).id for name in ("ka", "kb", "kc"))
        state = session.settings.count("state")
        session.keys.used({early: 60, late: 120, 4711: 60})
        session.keys.used({early: 120, late: 60} | dict.fromkeys(range(10_000, 11_000), 60))
        assert {found.id: found.used_ns for found in session.keys.list(1)} == {early: 120, late: 120, never: 0}
        assert session.settings.count("state") == state
        session.keys.used({})

    def test_keys_and_deployments_move_the_state(self, session: Session) -> None:
        seen = [session.settings.count("state")]
        for change in (
            lambda: session.keys.add(key("k1", "a")),
            lambda: session.keys.revoke(1, "k1", 5),
            lambda: session.deployments.add(deployment("d")),
            lambda: session.deployments.update(deployment("d"), 1),
            lambda: session.deployments.remove(1, "d"),
        ):
            change()
            seen.append(session.settings.count("state"))
        assert seen == sorted(set(seen))

    def test_audit_rows_form_a_chain_for_each_workspace(self, session: Session) -> None:
        other = Actor(name="bob", workspace_id=session.workspaces.create("other").id)
        first = session.audit.append(ACTOR, "a.b", "x", before={"f": 0.1, "n": None}, after={"status": JobStatus.QUEUED, "t": (1, 2)})
        session.audit.append(other, "a.b", "y")
        second = session.audit.append(ACTOR, "c.d", "größer", after={"nan": float("nan")})
        assert (first.previous_hash, second.previous_hash) == ("", first.hash)
        assert [event.id for event in session.audit.list(1)] == [second.id, first.id]
        assert session.audit.list(1, before_id=second.id) == [first]
        assert session.audit.list(1, limit=1)[0].id == second.id
        assert session.audit.last(1, "x", ("a.b", "c.d"), second.time_ns) == first
        assert session.audit.last(1, "x", ("a.b",), first.time_ns - 1) is None
        assert session.audit.last(1, "y", ("a.b",), second.time_ns) is None
        assert session.audit.first_broken(1) == 0

    def test_predictions_end_once_and_are_told_until_taken(self, session: Session, clock: ManualClock) -> None:
        made = session.predictions.add(Prediction(id="p1", workspace_id=1, key_id=1, deployment="d", webhook="http://x"))
        assert session.predictions.get(1, "p1") == made
        assert session.predictions.get(2, "p1") is None
        assert session.predictions.queued() == [made]
        assert session.predictions.due(clock.time_ns()) == []
        assert session.predictions.finish("p1", PredictionStatus.FAILED, "no") is True
        assert session.predictions.finish("p1", PredictionStatus.SUCCEEDED) is False
        ended = session.predictions.get(1, "p1")
        assert ended is not None
        assert (ended.status, ended.error, ended.finished_ns) == (PredictionStatus.FAILED, "no", clock.time_ns())
        assert session.predictions.due(clock.time_ns()) == [ended]
        session.predictions.tried("p1", next_ns=clock.time_ns() + 10)
        assert session.predictions.due(clock.time_ns() + 9) == []
        assert session.predictions.due(clock.time_ns() + 10)[0].attempts == 1
        session.predictions.tried("p1")
        assert session.predictions.due(clock.time_ns() + 10**12) == []

    def test_predictions_expire(self, session: Session) -> None:
        for name, at in (("a", 10), ("b", 20), ("c", 0)):
            session.predictions.add(Prediction(id=name, workspace_id=1, key_id=1, deployment="d", expires_ns=at))
        assert [found.id for found in session.predictions.expired(15)] == ["a"]
        session.predictions.remove(["a"])
        assert sorted(found.id for found in session.predictions.list(1)) == ["b", "c"]
        with pytest.raises(AlreadyExists):
            session.predictions.add(Prediction(id="b", workspace_id=1, key_id=1, deployment="d"))

    def test_usage_adds_up_and_its_cursor_moves_forward_only(self, session: Session) -> None:
        minute = UsageMinute(workspace_id=1, minute=100, key_id=1, deployment_id=2, status=200, calls=2, rows=2**40)
        session.usage.add([minute, msgspec.structs.replace(minute, status=500, calls=1, rows=0)])
        session.usage.add([minute, msgspec.structs.replace(minute, minute=101)])
        session.usage.advance("boot", "seg", 0, 5)
        session.usage.advance("boot", "seg", 5, 9)
        assert session.usage.cursor("boot", "seg") == 9
        for expect, position in ((5, 12), (9, 8)):
            with pytest.raises(Conflict):
                session.usage.advance("boot", "seg", expect, position)
        assert [(total.calls, total.rows) for total in session.usage.totals(1)] == [(7, 3 * 2**40)]
        split = session.usage.totals(1, since_minute=100, until_minute=101, by=("status",))
        assert [(total.status, total.calls, total.minute) for total in split] == [(200, 4, 100), (500, 1, 100)]
        assert session.usage.totals(2) == []
        session.usage.forget("boot", "seg")
        assert session.usage.cursor("boot", "seg") == 0

    def test_usage_adds_up_whichever_periods_it_is_read_from(self, session: Session) -> None:
        draw = np.random.default_rng(5)
        used = [
            UsageMinute(
                workspace_id=1,
                minute=int(draw.integers(100 * DAY)),
                deployment_id=int(draw.integers(3)),
                key_id=int(draw.integers(2)),
                calls=n,
            )
            for n in range(1, 400)
        ]
        for at in range(0, len(used), 50):
            session.usage.add(used[at : at + 50])
        for since, until in (
            (0, 0),
            (0, 59 * DAY),
            (31 * DAY, 0),
            (777, 95 * DAY + 61),
            (40 * DAY + 7, 50 * DAY),
            (62, 63),
            (30 * DAY, 32 * DAY),
        ):
            for period, by in product((WHOLE, MONTH, DAY, 60, 1), ((), ("deployment_id",), ("key_id",))):
                expected: Counter[tuple[int, ...]] = Counter()
                for each in used:
                    if since <= each.minute < (until or 100 * DAY):
                        start = since if period == WHOLE else start_of(each.minute, period)
                        expected[start, *(getattr(each, name) for name in by)] += each.calls
                wanted = Wanted(workspace_id=1, since=since, until=until, period=period, by=by, sums=("calls",))
                found = [tuple(row) for page in session.usage.sums(wanted) for row in page]
                assert found == [(*group, calls) for group, calls in sorted(expected.items())], (since, until, period, by)

    @pytest.mark.parametrize("period", [WHOLE, MONTH, DAY])
    def test_usage_of_one_month_is_told_by_any_period(self, session: Session, period: int) -> None:
        session.usage.add([UsageMinute(workspace_id=7, minute=DAY, key_id=key, calls=2 + key) for key in (0, 1, 1)])
        wanted = Wanted(workspace_id=7, period=period, by=("key_id",), sums=("calls",))
        start = DAY if period == DAY else 0
        assert [tuple(row) for page in session.usage.sums(wanted) for row in page] == [(start, 0, 2), (start, 1, 6)]

    def test_usage_and_cursor_are_undone_together(self, store: Store) -> None:
        def fold() -> None:
            with store.write() as session:
                session.usage.add([UsageMinute(workspace_id=1, minute=1, calls=1)])
                session.usage.advance("boot", "seg", 1, 2)

        with pytest.raises(ModelyardError):
            fold()
        with store.read() as session:
            assert session.usage.totals(1) == []

    def test_settings_are_kept_and_counted(self, session: Session) -> None:
        assert session.settings.get("a") is None
        session.settings.put("a", "1")
        session.settings.put("a", "2")
        assert session.settings.get("a") == "2"
        session.settings.remove("a")
        assert session.settings.get("a") is None
        assert [session.settings.bump("n"), session.settings.bump("n"), session.settings.count("n")] == [1, 2, 2]
