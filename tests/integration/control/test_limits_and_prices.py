"""Limits and prices over the management API and the SDK."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from management import ADMIN, Platform
from modelyard import Client
from modelyard.core.access import Action
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from modelyard.core.limits import Measure, Scope, Window


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, ADMIN) as made:
        yield made


def test_a_limit_is_set_changed_listed_and_removed(client: Client) -> None:
    made = client.limits.set("100/min")
    assert (made.scope, made.measure, made.window, made.amount, made.revision) == (
        Scope.WORKSPACE,
        Measure.REQUESTS,
        Window.MINUTE,
        100,
        1,
    )
    changed = client.limits.set("200/min")
    assert (changed.id, changed.amount, changed.revision) == (made.id, 200, 2)
    assert client.limits.set("200/min").revision == 2, "the same again is no change"
    key = client.keys.create()
    client.limits.set("5 USD/month", scope="key", subject=key.id)
    assert {limit.text for limit in client.limits.list()} == {"200 requests/minute", "5 USD/month"}
    client.limits.remove(made.id)
    assert [limit.subject for limit in client.limits.list()] == [key.id]
    with pytest.raises(NotFound):
        client.limits.remove(made.id)


def test_every_change_is_in_the_audit_log(client: Client) -> None:
    made = client.limits.set("100/min")
    client.limits.set("200/min")
    client.limits.remove(made.id)
    client.prices.set("USD", call="0.01")
    found = [event for event in client.platform.audit() if event.action.startswith(("limit.", "price."))]
    assert [event.action for event in found] == ["price.add", "limit.remove", "limit.change", "limit.create"]
    assert (found[2].before, found[2].after) == ({"limit": "100 requests/minute"}, {"limit": "200 requests/minute"})


def test_of_two_edits_of_the_same_state_one_is_refused_with_what_stands_now(client: Client, http: httpx.Client) -> None:
    made = client.limits.set("100/min", revision=0)
    client.limits.set("200/min", revision=made.revision)
    answer = http.put("/api/v1/limits", json={"scope": "workspace", "limit": "300/min", "revision": made.revision})
    assert answer.status_code == 409
    assert "200 requests/minute at revision 2" in answer.json()["error"]["message"]
    with pytest.raises(Conflict):
        client.limits.set("300/min", revision=0)


@pytest.mark.parametrize("limit", ["0/min", "-5/min", "100", "1e9/min", f"{2**63}/min", "nonsense", "5 USD/decade"])
def test_what_cannot_be_a_limit_is_refused(client: Client, limit: str) -> None:
    with pytest.raises(InvalidRequest):
        client.limits.set(limit)


def test_a_subject_must_exist_in_the_workspace(client: Client) -> None:
    for scope in ("key", "deployment"):
        with pytest.raises(NotFound):
            client.limits.set("100/min", scope=scope, subject="nobody")
    with pytest.raises(InvalidRequest):
        client.limits.set("100/min", scope="workspace", subject="somebody")


def test_only_administrators_of_the_whole_workspace_set_limits(client: Client, url: str, platform: Platform) -> None:
    reader = client.keys.create(actions=[Action.READ, Action.KEYS, Action.DEPLOY])
    with Client(url, reader.key) as lesser:
        assert lesser.limits.list() == []
        with pytest.raises(PermissionDenied):
            lesser.limits.set("100/min")
        with pytest.raises(PermissionDenied):
            lesser.prices.set("USD", call="1")


def test_prices_are_added_and_kept(client: Client) -> None:
    first = client.prices.set("EUR", call="0.001", row="0.000001")
    second = client.prices.set("EUR", call="0.002", effective_ns=first.effective_ns + 10**15)
    assert [(price.call, price.row) for price in client.prices.list()] == [(1000, 1), (2000, 0)]
    assert second.effective_ns > first.effective_ns
    with pytest.raises(InvalidRequest, match="now or later"):
        client.prices.set("EUR", call="0.003", effective_ns=1)
    with pytest.raises(Conflict, match="counts in EUR"):
        client.prices.set("USD", call="0.003")
    with pytest.raises(Conflict, match="counts in EUR"):
        client.limits.set("10 USD/month")
    for rate in ("-1", "0.0000001", "1e3", "many", "9" * 12):
        with pytest.raises(InvalidRequest):
            client.prices.set("EUR", call=rate)


def test_what_a_cached_call_costs_may_be_nothing_and_need_not_be_said(client: Client) -> None:
    found = [client.prices.set("EUR", call="0.001"), client.prices.set("EUR", call="0.001", cached_call="0")]
    assert [price.cached_call for price in found] == [None, 0]
    assert [price.cached_call for price in client.prices.list()] == [None, 0]
    added = [event.after for event in client.platform.audit() if event.action == "price.add"]
    assert [(after or {}).get("cached_call") for after in added] == [0, None]
    with pytest.raises(InvalidRequest):
        client.prices.set("EUR", cached_call="-1")


def test_a_caller_sees_what_binds_its_key_and_nothing_else(client: Client, url: str, http: httpx.Client) -> None:
    mine, other = client.keys.create(), client.keys.create()
    client.limits.set("9/s", scope="platform")
    client.limits.set("1000/day")
    client.limits.set("5/min", scope="key", subject=mine.id)
    client.limits.set("6/min", scope="key", subject=other.id)
    with Client(url, mine.key) as caller:
        assert {limit.text for limit in caller.whoami().limits} == {"9 requests/second", "1000 requests/day", "5 requests/minute"}
