import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.core.limits import (
    END_OF_TIME_NS,
    MOST,
    Measure,
    Quantity,
    Window,
    check_quantity,
    money_text,
    parse_money,
    parse_quantity,
    window_bounds,
)

HOUR = 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "measure", "window", "amount", "currency"),
    [
        ("100/min", Measure.REQUESTS, Window.MINUTE, 100, ""),
        ("7 / s", Measure.REQUESTS, Window.SECOND, 7, ""),
        ("5000 rows/day", Measure.ROWS, Window.DAY, 5000, ""),
        ("1_000 tokens in/hour", Measure.TOKENS_IN, Window.HOUR, 1000, ""),
        ("10 USD/month", Measure.MONEY, Window.MONTH, 10_000_000, "USD"),
        ("0.25 EUR total", Measure.MONEY, Window.TOTAL, 250_000, "EUR"),
        ("1000 requests in total", Measure.REQUESTS, Window.TOTAL, 1000, ""),
        ("4 concurrent", Measure.CONCURRENT, Window.NONE, 4, ""),
    ],
)
def test_short_forms_are_understood(text, measure, window, amount, currency):
    assert parse_quantity(text) == Quantity(measure=measure, window=window, amount=amount, currency=currency)


@pytest.mark.parametrize(
    "text",
    [
        *("", "100", "-1/min", "0/min", "1e3/min", "1.5/min", "5 rows", "5 apples/day", "5 rows/week", "10 usd/month"),
        *("3 concurrent/min", "9" * 30 + "/min", f"{MOST} compute_ms/day", "0.0000001 USD/day", "NaN/day", "100/min/min", "١٠/min"),
    ],
)
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_quantity(text)


@given(st.text(max_size=40))
def test_any_text_is_a_limit_or_a_refusal(text):
    try:
        quantity = parse_quantity(text)
    except InvalidRequest:
        return
    check_quantity(quantity)
    assert 1 <= quantity.amount <= MOST


@given(st.integers(0, MOST))
def test_money_survives_being_written(amount):
    assert parse_money(money_text(amount)) == amount


@given(st.sampled_from(Window), st.integers(0, 4 * 10**18))
def test_every_time_lies_in_its_window_and_windows_join(window, time_ns):
    start, end = window_bounds(window, time_ns)
    if window in {Window.TOTAL, Window.NONE}:
        assert (start, end) == (1, END_OF_TIME_NS)
        return
    assert start <= time_ns < end
    assert window_bounds(window, start) == (start, end)
    assert window_bounds(window, end)[0] == end


def test_a_month_begins_on_its_first_day():
    start, end = window_bounds(Window.MONTH, 1_800_000_000 * 10**9)  # 2027-01-15
    assert (end - start) // HOUR == 31 * 24
