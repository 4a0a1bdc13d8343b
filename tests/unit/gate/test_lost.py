"""What the ledger says was used of a limit whose counters are lost: never less than it was, or more would be let through."""

from __future__ import annotations

import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Deployment
from modelyard.core.events import Actor
from modelyard.core.limits import Limit, Measure, Scope, Window
from modelyard.core.prices import Price
from modelyard.core.principals import Principal, PrincipalKind
from modelyard.core.shares import Share
from modelyard.core.usage import CallKind
from modelyard.gate.lost import used_since
from modelyard.identity.bounds import NewKey
from modelyard.identity.keys import add_key
from modelyard.store.database import Store
from modelyard.store.usage import UsageMinute


@pytest.fixture
def session(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}", ManualClock())
    store.migrate()
    with store.write() as session:
        yield session
    store.close()


def deployed(session, workspace_id, name):
    return session.deployments.add(Deployment(id=0, workspace_id=workspace_id, name=name, targets=())).id


def used(session, deployment_id, calls=1, key_id=0, workspace_id=1, **more):
    fields = {"minute": 10, "version_id": 1, "protocol": 1, "kind": CallKind.INFER, "status": 2, "calls": calls}
    minute = UsageMinute(workspace_id=workspace_id, deployment_id=deployment_id, key_id=key_id, **(fields | more))
    session.usage.add([minute])


def limit(scope, subject="", measure=Measure.REQUESTS, workspace_id=1):
    return Limit(id=1, workspace_id=workspace_id, scope=scope, subject=subject, measure=measure, window=Window.DAY, amount=9, currency="")


def test_money_for_deployments_that_are_gone_was_spent_all_the_same(session):
    gone = deployed(session, 1, "iris")
    session.prices.add(Price(id=0, workspace_id=1, deployment="iris", currency="USD", call=250_000))
    used(session, gone, calls=4)
    session.deployments.remove(1, "iris")
    assert used_since(session, limit(Scope.WORKSPACE, measure=Measure.MONEY), 0) == 1_000_000
    again = deployed(session, 1, "iris")
    used(session, again, calls=1)
    assert used_since(session, limit(Scope.DEPLOYMENT, "iris"), 0) == 5
    assert used_since(session, limit(Scope.DEPLOYMENT, "iris", Measure.MONEY), 0) == 1_250_000


def test_a_members_keys_count_together_and_nobody_elses(session):
    iris = deployed(session, 1, "iris")
    keys = {}
    for name in ("ana", "ben"):
        member = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name=name))
        actor = Actor(name="test", workspace_id=1)
        keys[name] = [add_key(session, actor, 1, member.id, NewKey(), 1)[0].id for _ in range(2)]
    for number, key_id in enumerate([*keys["ana"], *keys["ben"]], 1):
        used(session, iris, calls=number, key_id=key_id)
    assert used_since(session, limit(Scope.PRINCIPAL, "ana"), 0) == 3
    assert used_since(session, limit(Scope.PRINCIPAL, "ben"), 0) == 7
    assert used_since(session, limit(Scope.PRINCIPAL, "nobody"), 0) == 0


@pytest.mark.parametrize("ended", [False, True])
def test_calls_of_those_it_is_shared_with_count_for_both(session, ended):
    other = session.workspaces.create("other").id
    mine, theirs = deployed(session, 1, "iris"), deployed(session, other, "iris")
    session.prices.add(Price(id=0, workspace_id=1, deployment="iris", currency="USD", call=100))
    session.prices.add(Price(id=0, workspace_id=other, deployment="iris", currency="USD", call=7))
    share = session.shares.add(Share(id=0, workspace_id=1, deployment_id=mine, deployment="iris", borrower_id=other, name="default~iris"))
    used(session, mine, calls=2)
    used(session, mine, calls=3, workspace_id=other)
    used(session, theirs, calls=10, workspace_id=other)
    if ended:
        session.shares.end(share)
    assert used_since(session, limit(Scope.DEPLOYMENT, "iris"), 0) == 5
    assert used_since(session, limit(Scope.DEPLOYMENT, "default~iris", workspace_id=other), 0) == 3
    assert used_since(session, limit(Scope.SHARE, "iris/other"), 0) == 3
    assert used_since(session, limit(Scope.SHARE, "iris/nobody"), 0) == 0
    assert used_since(session, limit(Scope.SHARE, "iris/other", Measure.MONEY), 0) == 3 * 100
    assert used_since(session, limit(Scope.DEPLOYMENT, "iris", workspace_id=other), 0) == 10
    assert used_since(session, limit(Scope.WORKSPACE, workspace_id=other), 0) == 13
    assert used_since(session, limit(Scope.PLATFORM), 0) == 15
    assert used_since(session, limit(Scope.WORKSPACE, "", Measure.MONEY, other), 0) == 3 * 100 + 10 * 7


def test_cached_calls_cost_what_the_price_says_of_them(session):
    iris = deployed(session, 1, "iris")
    session.prices.add(Price(id=0, workspace_id=1, deployment="iris", currency="USD", call=100, row=10, cached_call=3))
    used(session, iris, calls=5, rows=50, cached_calls=2, cached_rows=20)
    at_least = 3 * 100 + 30 * 10 + 2 * 3
    assert at_least <= used_since(session, limit(Scope.WORKSPACE, measure=Measure.MONEY), 0) <= at_least + 3
