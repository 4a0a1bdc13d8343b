"""SQLite and PostgreSQL add usage up alike."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.usage import USAGE_GROUPS, UsageStep
from modelyard.ledger.query import UsageQuery, UsageWish
from modelyard.store.database import Store
from modelyard.store.usage import UsageMinute

DAY = 1440
MINUTE = 60_000_000_000


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request, tmp_path_factory):
    """A database, and numbers of workspaces that nobody has used."""
    url = f"sqlite:///{tmp_path_factory.mktemp('any') / 'x.db'}"
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    if server is not None:
        url = server.database()
    store = Store.open(url)
    store.migrate()
    yield store, count(10)
    store.close()
    if server is not None:
        server.drop(url)


@settings(max_examples=60)
@given(
    minutes=st.lists(st.integers(0, 4 * DAY), max_size=40),
    since=st.integers(0, 4 * DAY),
    length=st.integers(0, 3 * DAY),
    step=st.sampled_from(UsageStep),
)
def test_any_range_sums_to_what_was_counted_in_it(shared, minutes, since, length, step):
    store, workspaces = shared
    workspace = next(workspaces)
    with store.write() as session:
        session.usage.add([UsageMinute(workspace_id=workspace, minute=minute, key_id=at % 3, calls=1) for at, minute in enumerate(minutes)])
    until = since + length if length else 0
    found = UsageQuery(store).usage(
        UsageWish(workspace_id=workspace, by=("key",), step=step, since_ns=since * MINUTE, until_ns=until * MINUTE)
    )
    expected = Counter()
    for at, minute in enumerate(minutes):
        if since <= minute and (minute < until or not until):
            start = {"minute": minute, "hour": minute // 60 * 60, "day": minute // DAY * DAY, "month": 0, "all": since}[step]
            expected[start, f"#{at % 3}" if at % 3 else "-"] += 1
    assert Counter({(row.start_ns // MINUTE, row.key): row.calls for row in found}) == expected


def test_calendar_months_and_minutes_that_are_gone(shared):
    store, _ = shared
    with store.write() as session:
        workspace = session.workspaces.create("months").id
        counted = {0: 1, 31 * DAY: 2, 59 * DAY - 1: 4, 59 * DAY: 8}
        session.usage.add(UsageMinute(workspace_id=workspace, minute=minute, calls=calls) for minute, calls in counted.items())
        assert session.usage.prune(40 * DAY) >= 2
    query = UsageQuery(store)
    months = query.usage(UsageWish(workspace_id=workspace, by=(), step=UsageStep.MONTH))
    assert [(row.start_ns // MINUTE // DAY, row.calls) for row in months] == [(0, 1), (31, 6), (59, 8)]
    some = query.usage(UsageWish(workspace_id=workspace, by=(), since_ns=31 * DAY * MINUTE + MINUTE, until_ns=59 * DAY * MINUTE))
    assert [row.calls for row in some] == [6]
    minutes = query.usage(UsageWish(workspace_id=workspace, by=(), step=UsageStep.MINUTE))
    assert [row.calls for row in minutes] == [4, 8]


@given(by=st.permutations(USAGE_GROUPS).flatmap(lambda names: st.integers(0, len(names)).map(lambda count: names[:count])))
@settings(max_examples=20)
def test_groups_keep_their_names_in_any_order(shared, by):
    store, workspaces = shared
    workspace = next(workspaces)
    used = UsageMinute(
        workspace_id=workspace, minute=5, key_id=101, deployment_id=102, version_id=103, protocol=1, kind=2, status=4, calls=6, bytes_out=7
    )
    with store.write() as session:
        session.usage.add([used])
    (row,) = UsageQuery(store).usage(UsageWish(workspace_id=workspace, by=tuple(by)))
    names = {"deployment": "#102", "key": "#101", "version": "#103", "protocol": "open_inference_rest", "kind": "metadata", "status": "4xx"}
    assert {name: getattr(row, name) for name in USAGE_GROUPS} == {name: names[name] if name in by else "" for name in USAGE_GROUPS}
    assert (row.calls, row.bytes_out, row.rows) == (6, 7, 0)
