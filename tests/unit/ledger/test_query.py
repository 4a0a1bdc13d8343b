import pytest

from modelyard.core.access import Key
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.usage import UsageStep
from modelyard.ledger.query import UsageQuery, UsageWish
from modelyard.store.usage import UsageMinute

DAY = 1440
MINUTE = 60_000_000_000


@pytest.fixture
def query(store):
    with store.write() as session:
        first = session.deployments.add(Deployment(id=0, workspace_id=1, name="iris", targets=(Target(model="m", version="1"),)))
        second = session.deployments.add(Deployment(id=0, workspace_id=1, name="churn", targets=(Target(model="m", version="1"),)))
        key = session.keys.add(Key(id=0, workspace_id=1, public_id="abc", digest="0" * 64, label="shop"))
        used = [
            (10 * DAY, first.id, key.id, 2, 3),
            (10 * DAY + 59, first.id, 99, 2, 1),
            (10 * DAY + 60, second.id, key.id, 5, 1),
            (11 * DAY, 77, key.id, 2, 1),
            (11 * DAY, 0, key.id, 2, 4),
        ]
        session.usage.add(
            UsageMinute(workspace_id=1, minute=minute, deployment_id=d, key_id=k, status=s, protocol=1, calls=calls, rows=2 * calls)
            for minute, d, k, s, calls in used
        )
        session.usage.add([UsageMinute(workspace_id=2, minute=10 * DAY, calls=1000)])
    return UsageQuery(store)


def ask(query, workspace_id=1, **changes):
    return query.usage(UsageWish(workspace_id=workspace_id, **({"step": UsageStep.DAY} | changes)))


def told(rows):
    return [(row.start_ns // MINUTE, row.deployment, row.calls) for row in rows]


def test_days_by_deployment(query):
    assert told(ask(query)) == [(10 * DAY, "churn", 1), (10 * DAY, "iris", 4), (11 * DAY, "#77", 1), (11 * DAY, "-", 4)]


def test_hours_and_minutes(query):
    assert told(ask(query, step=UsageStep.HOUR, deployment="iris")) == [(10 * DAY, "iris", 4)]
    assert told(ask(query, step=UsageStep.MINUTE, deployment="iris")) == [(10 * DAY, "iris", 3), (10 * DAY + 59, "iris", 1)]


def test_months_are_those_of_the_calendar(query, store):
    with store.write() as session:
        session.usage.add([UsageMinute(workspace_id=1, minute=31 * DAY, deployment_id=1, calls=5)])
        session.usage.add([UsageMinute(workspace_id=1, minute=59 * DAY - 1, deployment_id=1, calls=7)])
        session.usage.add([UsageMinute(workspace_id=1, minute=59 * DAY, deployment_id=1, calls=9)])
    rows = ask(query, step=UsageStep.MONTH, by=())
    assert [(row.start_ns // MINUTE // DAY, row.calls) for row in rows] == [(0, 10), (31, 12), (59, 9)]


def test_the_whole_time_as_one(query):
    assert [row.calls for row in ask(query, step=UsageStep.ALL, by=())] == [10]
    assert ask(query, step=UsageStep.ALL, by=(), since_ns=50 * DAY * MINUTE) == []


def test_a_range_takes_whole_minutes(query):
    assert sum(row.calls for row in ask(query, since_ns=(10 * DAY + 1) * MINUTE, until_ns=11 * DAY * MINUTE)) == 2
    assert sum(row.calls for row in ask(query, until_ns=10 * DAY * MINUTE + 1)) == 3


def test_other_groups_have_names_too(query):
    rows = ask(query, by=("key", "status", "protocol", "kind"), step=UsageStep.ALL)
    assert {(row.key, row.key_label, row.status, row.protocol, row.kind, row.calls) for row in rows} == {
        ("abc", "shop", "2xx", "open_inference_rest", "other", 8),
        ("#99", "", "2xx", "open_inference_rest", "other", 1),
        ("abc", "shop", "5xx", "open_inference_rest", "other", 1),
    }


def test_one_deployment_or_key_without_splitting_by_it(query):
    (row,) = ask(query, by=(), deployment="iris")
    assert (row.deployment, row.calls, row.rows) == ("", 4, 8)
    assert sum(row.calls for row in ask(query, by=(), key="abc")) == 9
    assert [row.calls for row in ask(query, by=(), deployment="#77")] == [1]


def test_what_is_not_there_is_refused_with_the_nearest(query):
    with pytest.raises(NotFound, match="Did you mean 'iris'"):
        ask(query, deployment="irsi")
    with pytest.raises(NotFound):
        ask(query, key="nobody")


def test_a_key_for_some_deployments_learns_of_no_other(query):
    assert {row.deployment for row in ask(query, may=frozenset({"iris"}))} == {"iris"}
    for name in ("churn", "#77"):
        with pytest.raises(NotFound):
            ask(query, may=frozenset({"iris"}), deployment=name)
    assert ask(query, may=frozenset({"gone"})) == []


def test_workspaces_see_their_own_only(query):
    assert [row.calls for row in ask(query, 2, by=())] == [1000]
    assert ask(query, 3) == []


def test_an_unknown_group_is_refused_with_the_nearest(query):
    with pytest.raises(InvalidRequest, match="Did you mean 'deployment'"):
        ask(query, by=("deploymnet",))


def test_an_answer_that_is_too_long_is_refused(query, monkeypatch):
    monkeypatch.setattr("modelyard.ledger.query.MOST_ROWS", 1)
    with pytest.raises(InvalidRequest, match="export"):
        ask(query)


def test_hours_and_days_outlive_minutes(query, store):
    with store.write() as session:
        assert session.usage.prune(11 * DAY) == 3
    assert told(ask(query))[:2] == [(10 * DAY, "churn", 1), (10 * DAY, "iris", 4)]
    # Half an hour can no more be told apart: the whole hour counts.
    assert sum(row.calls for row in ask(query, since_ns=(10 * DAY + 30) * MINUTE, until_ns=(10 * DAY + 45) * MINUTE)) == 4
    with pytest.raises(InvalidRequest, match="step=hour"):
        ask(query, step=UsageStep.MINUTE, since_ns=10 * DAY * MINUTE)
    assert sum(row.calls for row in ask(query, step=UsageStep.MINUTE)) == 5
