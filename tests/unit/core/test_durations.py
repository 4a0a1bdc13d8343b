import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.durations import LONGEST, parse_duration, parse_expiry
from modelyard.core.errors import InvalidRequest

NOW = 1_800_000_000_000_000_000  # 2027-01-15T08:00:00Z
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 30 * DAY), ("12h", DAY / 2), ("90m", 5400.0), ("45s", 45.0), (" 1.5 H ", 5400.0), ("2w", 14 * DAY), ("never", 0.0), ("", 0.0)],
)
def test_durations_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == parse_expiry(text, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15", 16 * 3600 - 1),
        ("2027-01-16T08:00", DAY),
        ("2027-01-16T08:00:00Z", DAY),
        ("2027-01-16T10:00:00+02:00", DAY),
    ],
)
def test_dates_mean_utc_and_their_last_second(text, seconds):
    assert parse_expiry(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["30", "d", "30 days", "-1d", "0d", "1e3s", "200y", "2027-13-01", "2027-01-14", "2999-01-01", "2027-01-15T08:00"]
)
def test_everything_else_is_refused_with_the_form(text):
    with pytest.raises(InvalidRequest, match=r"30d|date"):
        parse_expiry(text, NOW)


@given(st.text(max_size=20))
def test_no_text_breaks_the_parser(text):
    try:
        seconds = parse_expiry(text, NOW)
    except InvalidRequest:
        return
    assert 0.0 <= seconds <= LONGEST
