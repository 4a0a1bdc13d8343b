from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest
from modelyard.core.prices import HIGHEST, RATES, Price, Tariff, check_rates


def price(**fields):
    return Price(**({"id": 1, "workspace_id": 1, "deployment": "iris", "currency": "USD"} | fields))


counts = st.integers(0, 1 << 40)
rates = st.integers(0, HIGHEST)


@given(st.fixed_dictionaries(dict.fromkeys(RATES, rates)), counts, counts, counts, counts, counts)
def test_a_price_is_exact_and_rounded_up_once(found, rows, tokens_in, tokens_out, tokens_cached, compute_us):
    cost = Cost(rows=rows, tokens_in=tokens_in, tokens_out=tokens_out, tokens_cached=tokens_cached, compute_us=compute_us)
    tokens = tokens_in * found["tokens_in"] + tokens_out * found["tokens_out"] + tokens_cached * found["tokens_cached"]
    exact = found["call"] + rows * found["row"] + Fraction(tokens, 1000) + Fraction(compute_us * found["compute_second"], 10**6)
    assert price(**found).of(cost) == ceil(exact)


@given(st.fixed_dictionaries(dict.fromkeys(RATES, rates)), st.integers(1, 1000))
def test_a_cached_call_costs_its_own_rate_and_never_more_than_was_reserved_for_it(found, rows):
    asked = price(**found)
    assert asked.of(Cost(rows=rows, cached=True)) == found["cached_call"] <= asked.entry
    assert price(**found | {"cached_call": None}).of(Cost(rows=rows, cached=True)) == asked.of(Cost(rows=rows))
    assert Tariff([asked], 1, "iris").call(5) == asked.entry


@pytest.mark.parametrize("amount", [-1, HIGHEST + 1])
def test_rates_that_cannot_be_counted_are_refused(amount):
    with pytest.raises(InvalidRequest):
        check_rates(price(row=amount))
    with pytest.raises(InvalidRequest):
        check_rates(price(cached_call=amount))


def test_a_version_has_its_own_price_else_the_deployments_else_the_workspaces():
    prices = [price(deployment="", call=1), price(call=2), price(version_id=7, call=3), price(workspace_id=2, call=9)]
    tariff = Tariff(prices, 1, "iris")
    assert [tariff.of(Cost(version_id=version), 5) for version in (7, 8)] == [3, 2]
    assert tariff.call(5) == 3
    assert Tariff(prices, 1, "other").of(Cost(), 5) == 1
    assert Tariff(prices, 3, "iris").of(Cost(), 5) == 0


def test_a_version_that_is_priced_without_a_deployment_costs_that_wherever_no_deployment_says_otherwise():
    prices = [price(deployment="", version_id=7, call=4), price(deployment="", call=1), price(call=2)]
    other, iris = Tariff(prices, 1, "other"), Tariff(prices, 1, "iris")
    assert [other.of(Cost(version_id=version), 5) for version in (7, 8)] == [4, 1]
    assert [iris.of(Cost(version_id=version), 5) for version in (7, 8)] == [2, 2]
    assert (other.call(5), iris.call(5)) == (4, 2)
    assert Tariff(prices[:1], 1, "other").of(Cost(version_id=8), 5) == 0


def test_before_a_deployments_own_price_holds_a_call_is_expected_to_cost_what_the_workspaces_says():
    prices = [price(deployment="", call=5), price(call=2, effective_ns=10)]
    tariff = Tariff(prices, 1, "iris")
    assert [(tariff.call(time), tariff.of(Cost(), time)) for time in (9, 10)] == [(5, 5), (2, 2)]
    assert Tariff([price(deployment="", call=5), price(version_id=7, call=2)], 1, "iris").call(5) == 5


def test_a_price_holds_from_its_time_on():
    tariff = Tariff([price(call=1, effective_ns=10), price(call=2, effective_ns=20)], 1, "iris")
    assert [tariff.of(Cost(), time) for time in (9, 10, 19, 20)] == [0, 1, 1, 2]
