from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelyard.core.access import Action
from modelyard.core.deployments import ServedDeployment
from modelyard.core.errors import LimitExceeded, Unauthenticated
from modelyard.gate.openness import Openness
from modelyard.serving.publisher import public_limits


def deployment(number, name, policy, workspace=1):
    return ServedDeployment(id=number, workspace_id=workspace, name=name, revision=1, routes=(), policy=policy)


class Clock:
    now = 0

    def monotonic_ns(self):
        return self.now


def openness(*deployments):
    clock, holder = Clock(), SimpleNamespace(current=SimpleNamespace(deployments=deployments, shares={}))
    return Openness(holder, clock), holder, clock


def test_a_public_deployment_gives_a_grant_to_call_it_and_nothing_else():
    opened, _, _ = openness(deployment(1, "shown", {"public": {}}), deployment(2, "closed", {}))
    assert opened.any_public
    grant = opened.anonymous("shown", "192.0.2.1")
    assert (grant.key_id, grant.actions, grant.deployments) == (0, {Action.INFER}, {"shown"})
    for name in ("closed", "missing", ""):
        with pytest.raises(Unauthenticated):
            opened.anonymous(name, "192.0.2.1")


def test_a_new_snapshot_closes_at_once():
    opened, holder, _ = openness(deployment(1, "shown", {"public": {}}))
    holder.current = SimpleNamespace(deployments=(), shares={})
    assert not opened.any_public


def test_the_older_of_two_public_names_is_meant():
    opened, _, _ = openness(deployment(9, "shown", {"public": {}}, workspace=2), deployment(3, "shown", {"public": {}}))
    assert opened.anonymous("shown", "192.0.2.1").workspace_id == 1


def test_addresses_are_counted_by_the_minute_and_ipv6_by_its_network():
    opened, _, clock = openness(deployment(1, "shown", {"public": {"requests_per_minute_by_address": 2}}))
    for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        opened.anonymous("shown", peer)
    for peer in ("192.0.2.1", "2001:db8::3"):
        with pytest.raises(LimitExceeded) as refused:
            opened.anonymous("shown", peer)
        assert 0 < refused.value.retry_after <= 60
    clock.now = 60_000_000_000
    opened.anonymous("shown", "192.0.2.1")


def test_a_policy_that_was_never_checked_opens_nothing():
    opened, _, _ = openness(deployment(1, "shown", {"public": "yes"}), deployment(2, "other", {"public": {}}))
    assert opened.anonymous("other", "192.0.2.1")
    with pytest.raises(Unauthenticated):
        opened.anonymous("shown", "192.0.2.1")


def test_origins_are_of_a_workspace_s_deployment_and_for_preflights_of_any():
    opened, _, _ = openness(deployment(1, "paged", {"cors": {"origins": ["https://a.example"]}}), deployment(2, "paged", {}, workspace=2))
    assert opened.cors(1, "paged", "https://a.example")
    assert not opened.cors(2, "paged", "https://a.example")
    assert not opened.cors(1, "paged", "https://b.example")
    assert opened.preflight("paged", "https://a.example") is not None
    assert opened.preflight("paged", "https://b.example") is None
    assert opened.preflight("other", "https://a.example") is None


def test_limits_of_callers_without_a_key_stand_beside_the_others():
    found = list(
        public_limits([deployment(5, "shown", {"public": {"requests_per_minute": 3, "concurrent": 2}}), deployment(6, "closed", {})])
    )
    assert [(limit.subject_id, limit.amount) for limit in found] == [(-5, 3), (-5, 2)]
    assert len({limit.id for limit in found}) == 2
