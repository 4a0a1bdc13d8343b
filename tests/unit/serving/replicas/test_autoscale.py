import itertools

from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.deployments import ReplicaPolicy
from modelyard.serving.replicas.autoscale import Scale
from modelyard.serving.replicas.places import Demand


def follow(policy, demands, step_s=0.1):
    """What is wanted after each of the demands, which are outstanding calls; every call that is outstanding has come."""
    scale, now, calls, found = Scale(), 100.0, 0, []
    for outstanding in demands:
        calls += outstanding
        found.append(scale.look(policy, Demand(outstanding, calls), now))
        now += step_s
    return found


def test_nothing_runs_until_somebody_calls_and_then_one_does_at_once():
    policy = ReplicaPolicy(min=0, max=4)
    assert follow(policy, [0, 0, 1, 1]) == [0, 0, 1, 1]


def test_a_call_that_came_and_went_between_two_looks_counts():
    scale, policy = Scale(), ReplicaPolicy(min=0, max=1)
    assert scale.look(policy, Demand(0, 5), 1.0) == 0
    assert scale.look(policy, Demand(0, 6), 2.0) == 1


def test_more_run_as_lasting_demand_asks_and_no_more_than_allowed():
    policy = ReplicaPolicy(min=1, max=3, target=4)
    assert follow(policy, [8] * 100)[-1] == 2
    assert follow(policy, [100] * 100)[-1] == 3
    assert follow(policy, [12, *[0] * 20])[-1] == 1  # one moment is no demand


def test_fewer_run_when_fewer_were_needed_for_long_enough():
    policy = ReplicaPolicy(min=0, max=3, target=4, idle_seconds=10)
    found = follow(policy, [12] * 100 + [0] * 600)
    assert max(found) == 3
    assert found[180] == 3  # eight seconds later
    assert found[-1] == 0
    assert [b - a for a, b in itertools.pairwise(found) if b < a] == [-1, -1, -1]


def test_the_last_one_stays_while_anybody_calls():
    policy = ReplicaPolicy(min=0, max=1, idle_seconds=5)
    assert set(follow(policy, [1, *[0] * 40] * 5)[1:]) == {1}


def test_a_changed_policy_holds_at_once():
    scale = Scale()
    assert scale.look(ReplicaPolicy(min=3, max=3), Demand(0, 0), 1.0) == 3
    assert scale.look(ReplicaPolicy(min=1, max=2), Demand(0, 0), 1.1) == 2
    assert scale.look(ReplicaPolicy(min=5, max=8), Demand(0, 0), 1.2) == 5


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.floats(0.5, 50),
    st.lists(st.integers(0, 1000), min_size=1, max_size=60),
)
def test_it_always_keeps_within_what_is_allowed(low, more, target, demands):
    policy = ReplicaPolicy(min=low, max=max(1, low + more), target=target, idle_seconds=1)
    for outstanding, wanted in zip(demands, follow(policy, demands), strict=True):
        assert policy.min <= wanted <= policy.max
        assert wanted >= 1 or not outstanding
