import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Unauthenticated
from modelyard.gate.authenticate import LONGEST_KEY, Authenticator
from modelyard.gate.check import SnapshotHolder

SECRET = b"my_abc_0123456789"
SCOPED = b"my_def_0123456789"
EXPIRING = b"my_exp_0123456789"


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer " + SECRET},
        {b"authorization": b"bearer " + SECRET},
        {b"authorization": b"BEARER " + SECRET},
        {b"x-api-key": SECRET},
        {b"api-key": SECRET},
        {b"authorization": b"Bearer " + SECRET, b"x-api-key": SECRET},
        {b"x-api-key": SECRET, b"api-key": SECRET},
    ],
)
def test_a_key_is_taken_from_each_header_that_clients_use(gate, headers):
    assert gate.authenticate(headers, "", "10.1.2.3").key_id == 1


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "needs a key"),
        ({b"x-api-key": b""}, "needs a key"),
        ({b"authorization": b""}, "must be 'Bearer KEY'"),
        ({b"authorization": b"Bearer"}, "must be 'Bearer KEY'"),
        ({b"authorization": b"Basic bXk6eA=="}, "must be 'Bearer KEY'"),
        ({b"authorization": SECRET}, "must be 'Bearer KEY'"),
        ({b"authorization": b"Bearer "}, "not valid"),
        ({b"authorization": b"Bearer " + SECRET[:-1]}, "not valid"),
        ({b"authorization": b"Bearer " + SECRET + b"0"}, "not valid"),
        ({b"authorization": b"Bearer " + SECRET.upper()}, "not valid"),
        ({b"authorization": b"Bearer " + SECRET + b", Bearer " + SECRET}, "not valid"),
        ({b"authorization": b"Bearer my_\xff\xfe\x00"}, "not valid"),
        ({b"x-api-key": b"my_" + b"x" * LONGEST_KEY}, "longer than"),
        ({b"authorization": b"Bearer " + SECRET, b"x-api-key": SCOPED}, "Several different"),
        ({b"x-api-key": SECRET, b"api-key": SCOPED}, "Several different"),
        ({b"authorization": b"Bearer " + SECRET, b"x-api-key": SECRET, b"api-key": SCOPED}, "Several different"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(gate, headers, message):
    with pytest.raises(Unauthenticated, match=message) as refused:
        gate.authenticate(headers, "", "10.1.2.3")
    assert "0123456789" not in refused.value.message


@given(st.dictionaries(st.sampled_from([b"authorization", b"x-api-key", b"api-key"]), st.binary(max_size=40)))
def test_no_header_but_a_valid_key_lets_anybody_in(headers):
    with pytest.raises(Unauthenticated):
        Authenticator(SnapshotHolder()).authenticate(headers, "", "10.1.2.3")


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "apikey", "access_token", "token", "API_KEY", "api%5Fkey"])
def test_a_key_in_the_query_string_is_refused_even_beside_a_good_header(gate, name):
    with pytest.raises(Unauthenticated, match="address"):
        gate.authenticate({b"x-api-key": SECRET}, f"a=1&{name}=anything", "10.1.2.3")


@pytest.mark.parametrize("query", ["x=my_abc_0123456789", "x=my%5Fabc", "a=1;q=my_abc"])
def test_a_value_that_looks_like_a_key_of_ours_is_refused_under_any_name(gate, query):
    with pytest.raises(Unauthenticated, match="address"):
        gate.authenticate({b"x-api-key": SECRET}, query, "10.1.2.3")


@pytest.mark.parametrize("query", ["a=1&b=2", "key=", "keys=1", "verbose", "model=my-model"])
def test_other_queries_pass(gate, query):
    assert gate.authenticate({b"x-api-key": SECRET}, query, "10.1.2.3").key_id == 1


def test_a_key_expires_and_stays_expired_when_the_clock_is_set_back(gate, clock):
    assert gate.authenticate({b"x-api-key": EXPIRING}, "", "10.1.2.3").key_id == 3
    clock.advance(60)
    with pytest.raises(Unauthenticated, match="not valid"):
        gate.authenticate({b"x-api-key": EXPIRING}, "", "10.1.2.3")
    clock.set_back(3600)
    with pytest.raises(Unauthenticated, match="not valid"):
        gate.authenticate({b"x-api-key": EXPIRING}, "", "10.1.2.3")
    assert gate.authenticate({b"x-api-key": SECRET}, "", "10.1.2.3").key_id == 1


def test_calls_without_expiry_move_the_latest_time_too(gate, clock):
    clock.advance(61)
    gate.authenticate({b"x-api-key": SECRET}, "", "10.1.2.3")
    clock.set_back(61)
    with pytest.raises(Unauthenticated):
        gate.authenticate({b"x-api-key": EXPIRING}, "", "10.1.2.3")


def test_a_new_process_does_not_believe_a_clock_before_its_snapshot(snapshots, clock):
    class Later:
        seen_ns = clock.time_ns() + 61_000_000_000
        grant = snapshots.grant

    with pytest.raises(Unauthenticated):
        Authenticator(Later(), clock).authenticate({b"x-api-key": EXPIRING}, "", "10.1.2.3")


def test_unknown_and_expired_keys_hear_the_same(gate, clock):
    clock.advance(61)
    messages = set()
    for secret in (EXPIRING, b"my_nobody"):
        with pytest.raises(Unauthenticated) as refused:
            gate.authenticate({b"x-api-key": secret}, "", "10.1.2.3")
        messages.add(refused.value.message)
    assert len(messages) == 1
