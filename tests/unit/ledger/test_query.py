import pytest

from modelyard.core.access import Key
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import InvalidRequest
from modelyard.ledger.query import Step, UsageQuery
from modelyard.store.usage import UsageMinute

DAY = 1440


@pytest.fixture
def query(store):
    with store.write() as session:
        first = session.deployments.add(Deployment(id=0, workspace_id=1, name="iris", targets=(Target(model="m", version="1"),)))
        second = session.deployments.add(Deployment(id=0, workspace_id=1, name="churn", targets=(Target(model="m", version="1"),)))
        key = session.keys.add(Key(id=0, workspace_id=1, public_id="abc", digest="0" * 64))
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


def told(rows):
    return [(row.start_ns // 60_000_000_000, row.deployment, row.calls) for row in rows]


def test_days_by_deployment(query):
    assert told(query.usage(1)) == [(10 * DAY, "churn", 1), (10 * DAY, "iris", 4), (11 * DAY, "#77", 1), (11 * DAY, "-", 4)]


def test_hours_and_minutes(query):
    assert told(query.usage(1, step=Step.HOUR, deployment="iris")) == [(10 * DAY, "iris", 4)]
    assert told(query.usage(1, step=Step.MINUTE, deployment="iris")) == [(10 * DAY, "iris", 3), (10 * DAY + 59, "iris", 1)]


def test_a_range_takes_whole_minutes(query):
    minute = 60_000_000_000
    assert sum(row.calls for row in query.usage(1, since_ns=(10 * DAY + 1) * minute, until_ns=11 * DAY * minute)) == 2
    assert sum(row.calls for row in query.usage(1, until_ns=10 * DAY * minute + 1)) == 3


def test_other_groups_have_names_too(query):
    rows = query.usage(1, by=("key", "status", "protocol"))
    assert {(row.key, row.status, row.protocol, row.calls) for row in rows} == {
        ("abc", "2xx", "open_inference_rest", 3),
        ("#99", "2xx", "open_inference_rest", 1),
        ("abc", "5xx", "open_inference_rest", 1),
        ("abc", "2xx", "open_inference_rest", 5),
    }


def test_one_deployment_without_splitting_by_it(query):
    (row,) = query.usage(1, by=(), deployment="iris")
    assert (row.deployment, row.calls, row.rows) == ("", 4, 8)


def test_workspaces_see_their_own_only(query):
    assert [row.calls for row in query.usage(2, by=())] == [1000]
    assert query.usage(3) == []


def test_an_unknown_group_is_refused_with_the_nearest(query):
    with pytest.raises(InvalidRequest, match="Did you mean 'deployment'"):
        query.usage(1, by=("deploymnet",))
