from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.deployments import ReplicaPolicy
from modelyard.core.errors import InvalidRequest
from modelyard.core.policy import EMPTY, Policy, parse_policy, target_of

FULL = {
    "sticky": {"by": "header", "header": "x-user"},
    "shadow": {"version": "m@3", "percent": 10, "tolerance": 0.01, "outputs": ["y"]},
    "experiment": {"candidate": "m@2", "metrics": ["errors"], "alpha": 0.01},
    "rollout": {"candidate": "m@2", "steps": [10, 50], "rules": {"max_error_rate": 0.01}, "alias": "champion"},
}


def test_a_policy_is_read_and_names_the_versions_it_needs():
    policy = parse_policy(FULL)
    assert policy.references == ("m@3", "m@2")
    assert policy.sticky is not None
    assert policy.sticky.header == "x-user"
    assert msgspec.to_builtins(policy)["rollout"]["steps"] == (10, 50)
    assert parse_policy({}) == EMPTY
    assert target_of("m@3").version == "3"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"stiky": {}}, "stiky is no field. Did you mean 'sticky'?"),
        ({"shadow": {"version": "m@1", "percnt": 5}}, "shadow.percnt is no field of shadow. Did you mean 'percent'?"),
        ({"rollout": {"candidate": "m@1", "rules": {"max_p99": 5}}}, "rollout.rules.max_p99 is no field of rollout.rules."),
        ({"shadow": {"version": 3}}, "shadow.version: expected 'str', got 'int'"),
        ({"shadow": {}}, "shadow: object missing required field 'version'"),
        ({"shadow": {"version": "m"}}, "'m' names no version that stays; write m@NUMBER or m@ALIAS"),
        ({"shadow": {"version": "M M@2"}}, "cannot name a model"),
        ({"shadow": {"version": "m@2", "percent": 0}}, "shadow.percent: 0 is not above 0"),
        ({"shadow": {"version": "m@2", "queue": 0}}, "shadow.queue: 0 is not"),
        ({"sticky": {"by": "header"}}, "sticky.header: name the header"),
        ({"sticky": {"header": "x"}}, "sticky.header: it has no meaning"),
        ({"sticky": {"by": "header", "header": "a b"}}, "is no header's name"),
        ({"isolation": "none"}, "isolation: invalid enum value 'none'"),
        ({"replicas": {"min": 3, "max": 2}}, "replicas.max: 2 is less than min, which is 3"),
        ({"replicas": {"max": 0}}, "replicas.max: expected 'int' >= 1"),
        ({"replicas": {"maximum": 2}}, "replicas.maximum is no field of replicas."),
        ({"replicas": {"reach": "everything"}}, "replicas.reach: invalid enum value 'everything'"),
        ({"batching": {"max_rows": -1}}, "batching: max_rows is from 0 to 65536"),
        ({"batching": {"delay_ms": 2000}}, "delay_ms from 0 to 1000"),
        ({"batching": {"delay_ms": 5}, "objective_ms": 50}, "batching: runs are sized by objective_ms"),
        ({"also": ["m"]}, "also[0]: 'm' names no version that stays"),
        ({"sticky": {"by": "ip"}}, "sticky.by: invalid enum value 'ip'"),
        ({"experiment": {"candidate": "m@2", "alpha": 1}}, "experiment.alpha"),
        ({"experiment": {"candidate": "m@2", "metrics": []}}, "experiment.metrics"),
        ({"experiment": {"candidate": "m@2", "min_calls": 1}}, "experiment.min_calls"),
        ({"rollout": {"candidate": "m@2", "steps": [50, 10]}}, "rollout.steps: write percentages that grow"),
        ({"rollout": {"candidate": "m@2", "steps": [100]}}, "rollout.steps"),
        ({"rollout": {"candidate": "m@2", "hold_seconds": -1}}, "rollout.hold_seconds"),
        ({"rollout": {"candidate": "m@2", "rules": {"min_agreement": 0.9}}}, "agreement is measured in shadow only"),
        ({"rollout": {"candidate": "m@2", "rules": {"max_error_rate": 5}}}, "max_error_rate: 5 is not from 0 to 1"),
        ({"rollout": {"candidate": "m@2", "rules": {"min_calls": 0}}}, "rollout.rules.min_calls"),
        ({"rollout": {"candidate": "m@2", "rules": {"max_p99_ms": 0}}}, "rollout.rules.max_p99_ms"),
        ({"rollout": {"candidate": "m@2", "rules": {"max_metric_drop": 0.1}}}, "needs 'metric'"),
        ({"rollout": {"candidate": "m@2"}, "experiment": {"candidate": "m@3"}}, "name the same version in both"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(written, said):
    with pytest.raises(InvalidRequest) as caught:
        parse_policy(written)
    assert caught.value.message.startswith("The policy cannot be used: ")
    assert said in caught.value.message


def test_replica_processes_are_for_who_asks():
    assert parse_policy({}).own_processes is None
    assert parse_policy({"isolation": "own"}).own_processes == ReplicaPolicy()
    assert parse_policy({"replicas": {"max": 3}}).own_processes == ReplicaPolicy(max=3)
    both = ReplicaPolicy(min=0, max=3, target=2).joined(ReplicaPolicy(memory_bytes=5, threads=2))
    assert both == ReplicaPolicy(min=1, max=3, target=2, memory_bytes=5, threads=2)


def test_fields_of_a_newer_version_are_left_alone_when_stored():
    assert Policy.of({"sticky": {"by": "key", "salt": 3}, "later": 1}).sticky is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "version", "steps", "x"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FULL, "x"]), JSON, max_size=4))
def test_whatever_is_written_is_read_or_refused_in_a_sentence(written):
    with suppress(InvalidRequest):
        parse_policy(written)
        assert set(written) <= set(Policy.__struct_fields__)
