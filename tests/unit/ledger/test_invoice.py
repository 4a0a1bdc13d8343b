"""Invoices equal the ledger's sums, times the prices at the times at which they were in force."""

import csv
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.deployments import Deployment
from modelyard.core.errors import InvalidRequest
from modelyard.core.prices import Price
from modelyard.core.usage import CallKind
from modelyard.ledger.invoice import Invoices, amount_of
from modelyard.ledger.invoice_files import COLUMNS, invoice_csv, invoice_html
from modelyard.store.database import Store
from modelyard.store.settings import SettingsTable
from modelyard.store.usage import MINUTES_FROM, UsageMinute

MONTH = "2027-01"
BEGIN = 1_798_761_600 // 60
"""2027-01-01 in minutes."""
DAY = 1440


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, clock):
    store = Store.open(request.getfixturevalue(f"{request.param}_url"), clock)
    store.migrate()
    with store.write() as session:
        for name in ("shop", "odd"):
            session.deployments.add(Deployment(id=0, workspace_id=1, name=name, targets=()))
    yield store
    store.close()


def use(store, minute, deployment=1, status=2, kind=CallKind.INFER, **sums):
    with store.write() as session:
        session.usage.add(
            [UsageMinute(workspace_id=1, minute=minute, deployment_id=deployment, status=status, kind=kind, **({"calls": 1} | sums))]
        )


def price(store, minute, deployment="shop", **rates):
    with store.write() as session:
        return session.prices.add(
            Price(id=0, workspace_id=1, deployment=deployment, currency="EUR", effective_ns=minute * 60 * 10**9, **rates)
        )


def bill(store, clock, month=MONTH):
    return Invoices(store, clock).invoice(1, month)


def told(invoice):
    return [(line.deployment, line.item, line.quantity, line.rate, line.amount) for line in invoice.lines]


def test_every_rate_is_a_line(store, clock):
    clock.advance(31 * 86400)
    price(store, 0, call=1_000, row=200, tokens_in=1_000_000, tokens_out=3_000_000, tokens_cached=500_000, compute_second=10_000)
    use(store, BEGIN, calls=3, rows=30, tokens_in=1500, tokens_out=333, tokens_cached=1, compute_us=2_500_001)
    invoice = bill(store, clock)
    assert told(invoice) == [
        ("shop", "call", 3, 1_000, 3_000),
        ("shop", "row", 30, 200, 6_000),
        ("shop", "tokens_in", 1500, 1_000_000, 1_500_000),
        ("shop", "tokens_out", 333, 3_000_000, 999_000),
        ("shop", "tokens_cached", 1, 500_000, 500),
        ("shop", "compute_second", 2_500_001, 10_000, 25_000),
    ]
    assert (invoice.total, invoice.currency, invoice.answered_calls, invoice.complete) == (2_533_500, "EUR", 3, True)


@pytest.mark.parametrize("rate", [0, 7, 5_000])
def test_cached_calls_have_a_line_of_their_own_in_place_of_all_else(store, clock, rate):
    price(store, 0, call=1_000, row=200, tokens_in=1_000_000, cached_call=rate)
    use(store, BEGIN, calls=10, rows=70, tokens_in=3000, cached_calls=4, cached_rows=40, cached_tokens_in=1000)
    cached = [("shop", "cached_call", 4, rate, 4 * rate)] if rate else []
    assert told(bill(store, clock)) == [
        ("shop", "call", 6, 1_000, 6_000),
        ("shop", "row", 30, 200, 6_000),
        ("shop", "tokens_in", 2000, 1_000_000, 2_000_000),
        *cached,
    ]


def test_without_a_rate_of_their_own_cached_calls_cost_what_others_do(store, clock):
    price(store, 0, call=1_000, row=200)
    use(store, BEGIN, calls=10, rows=70, cached_calls=4, cached_rows=40)
    assert told(bill(store, clock)) == [("shop", "call", 10, 1_000, 10_000), ("shop", "row", 70, 200, 14_000)]


def test_a_price_that_changes_in_the_month_splits_its_lines(store, clock):
    price(store, BEGIN - 5 * DAY, call=1_000_000)
    change = BEGIN + 10 * DAY + 77
    price(store, change, call=3_000_000)
    use(store, BEGIN - 1, calls=1000)
    use(store, BEGIN, calls=1)
    use(store, change - 1, calls=10)
    use(store, change, calls=100)
    use(store, BEGIN + 31 * DAY - 1, calls=1)
    use(store, BEGIN + 31 * DAY, calls=1000)
    invoice = bill(store, clock)
    assert told(invoice) == [("shop", "call", 11, 1_000_000, 11_000_000), ("shop", "call", 101, 3_000_000, 303_000_000)]
    first, second = invoice.lines
    assert first.from_ns == invoice.from_ns
    assert first.until_ns == second.from_ns == change * 60 * 10**9
    assert second.until_ns == invoice.until_ns


def test_only_answers_cost_and_what_has_no_price_is_told(store, clock):
    use(store, BEGIN, calls=7)
    price(store, BEGIN + DAY, call=1)
    for status in (4, 5):
        use(store, BEGIN + 2 * DAY, status=status, calls=50)
    use(store, BEGIN + 2 * DAY, calls=2)
    use(store, BEGIN + 2 * DAY, deployment=2, calls=5)
    invoice = bill(store, clock)
    assert told(invoice) == [("shop", "call", 2, 1, 2)]
    assert (invoice.answered_calls, invoice.unpriced_calls) == (14, 12)


def test_a_removed_deployment_is_still_billed_by_its_name(store, clock):
    price(store, 0, call=5)
    use(store, BEGIN, calls=2)
    with store.write() as session:
        session.deployments.remove(1, "shop")
        session.deployments.add(Deployment(id=0, workspace_id=1, name="shop", targets=()))
    use(store, BEGIN, deployment=3, calls=1)
    assert told(bill(store, clock)) == [("shop", "call", 3, 5, 15)]


def test_the_general_price_is_for_deployments_without_one_of_their_own(store, clock):
    price(store, 0, "", call=2)
    price(store, 0, call=5, explanation=7)
    use(store, BEGIN, calls=1)
    use(store, BEGIN, calls=4, kind=CallKind.EXPLAIN)
    use(store, BEGIN, deployment=2, calls=10)
    assert told(bill(store, clock)) == [("odd", "call", 10, 2, 20), ("shop", "call", 5, 5, 25), ("shop", "explanation", 4, 7, 28)]


def test_a_version_that_is_priced_without_a_deployment_is_billed_so_wherever_no_deployment_says_otherwise(store, clock):
    price(store, 0, "", call=2)
    price(store, 0, "", version_id=7, call=100)
    price(store, 0, call=5)
    for version, calls in ((7, 1), (8, 10)):
        use(store, BEGIN, calls=calls, version_id=version)
        use(store, BEGIN, deployment=2, calls=calls, version_id=version)
    assert sorted(told(bill(store, clock))) == [("odd", "call", 1, 100, 100), ("odd", "call", 10, 2, 20), ("shop", "call", 11, 5, 55)]


def test_where_minutes_are_gone_a_change_counts_from_the_next_full_hour_and_nothing_twice(store, clock):
    price(store, 0, call=1)
    price(store, BEGIN + DAY + 90, call=10)
    for minute in (BEGIN + DAY + 60, BEGIN + DAY + 119, BEGIN + DAY + 120):
        use(store, minute, calls=1)
    with store.write() as session:
        session.usage.prune(BEGIN + 5 * DAY)
        assert SettingsTable(session.connection).count(MINUTES_FROM) == BEGIN + 5 * DAY
    assert told(bill(store, clock)) == [("shop", "call", 2, 1, 2), ("shop", "call", 1, 10, 10)]


def test_a_month_that_is_not_over_says_so(store, clock):
    assert not bill(store, clock, "2027-12").complete
    assert bill(store, clock, "2027-12").lines == ()


@pytest.mark.parametrize("month", ["", "2027", "2027-13", "2027-1", "2027-00", "0000-01", "2027-01-01", "٢٠٢٧-٠١x"])
def test_what_is_no_month_is_refused(store, clock, month):
    with pytest.raises(InvalidRequest, match="write it like 2026-11"):
        bill(store, clock, month)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_an_amount_is_off_by_half_a_millionth_at_most_and_never_above_what_single_calls_cost(quantity, rate):
    exact = quantity * rate
    assert abs(amount_of(quantity, rate, "tokens_in") * 1000 - exact) <= 500
    assert amount_of(quantity, rate, "row") == exact
    each = Price(id=1, workspace_id=1, deployment="", currency="EUR", tokens_in=rate).of(Cost(tokens_in=1))
    assert amount_of(quantity, rate, "tokens_in") <= each * quantity


def test_files_tell_what_the_invoice_tells(store, clock):
    price(store, 0, "odd", call=1_250_000, compute_second=2_000_000)
    price(store, BEGIN + DAY, call=1_000_000_000)
    use(store, BEGIN, deployment=2, calls=2, compute_us=1_500_000)
    use(store, BEGIN + DAY, calls=1234)
    invoice = bill(store, clock)
    rows = list(csv.DictReader(io.StringIO(invoice_csv(invoice).decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["item"], row["quantity"], row["rate"], row["per"], row["amount"]) for row in rows[:-1]] == [
        ("call", "2", "1.25", "1", "2.5"),
        ("compute_second", "1.5", "2", "second", "3"),
        ("call", "1234", "1000", "1", "1234000"),
    ]
    assert (rows[-1]["deployment"], rows[-1]["amount"], rows[-1]["currency"]) == ("total", "1234005.5", "EUR")
    lines = tuple(msgspec.structs.replace(line, deployment=line.deployment.replace("odd", "<b>odd</b>")) for line in invoice.lines)
    page = invoice_html(msgspec.structs.replace(invoice, lines=lines)).decode()
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "<b>odd" not in page
    assert "1,234,005.50 EUR" in page
    assert page.count("<tr>") == 3 + 2 + 2
    assert not [mark for mark in ("<script", "http:", "https:", "url(", "@import") if mark in page], "nothing from elsewhere"


def test_a_shadows_copies_are_on_nobodys_bill(store, clock):
    price(store, 0, call=1_000)
    use(store, BEGIN, calls=3)
    use(store, BEGIN, calls=50, kind=CallKind.SHADOW)
    invoice = bill(store, clock)
    assert told(invoice) == [("shop", "call", 3, 1_000, 3_000)]
    assert invoice.answered_calls == 3
