"""Progress as a process that is not trusted writes it."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.jobs.progress import ProgressTail, remaining_seconds


def test_lines_are_taken_in_when_whole(tmp_path):
    path = tmp_path / "progress.jsonl"
    tail = ProgressTail(path, started_ns=0)
    assert not tail.read()
    path.write_bytes(b'{"time_ns":1000000000,"stage":"reading","frac')
    assert not tail.read()
    path.write_bytes(b'{"time_ns":1000000000,"stage":"reading","fraction":0.5}\n')
    assert tail.read()
    assert (tail.latest.stage, tail.latest.fraction, tail.latest.eta_seconds) == ("reading", 0.5, 1.0)


def test_nonsense_is_skipped(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_bytes(b'nonsense\n{"fraction":"x"}\n\xff\xfe\n{"time_ns":1,"fraction":7}\n')
    tail = ProgressTail(path, started_ns=0)
    assert tail.read()
    assert tail.latest.fraction == 1.0


def test_line_without_fraction_keeps_the_last_one(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_bytes(b'{"time_ns":1,"stage":"a","fraction":0.4}\n{"time_ns":2,"stage":"b"}\n')
    tail = ProgressTail(path, started_ns=0)
    tail.read()
    assert (tail.latest.stage, tail.latest.fraction) == ("b", 0.4)


@given(st.floats(0, 1), st.floats(-1e6, 1e9))
def test_estimate_is_never_absurd(fraction, elapsed):
    rest = remaining_seconds(fraction, elapsed)
    assert rest == -1.0 or 0 <= rest <= 100 * elapsed + 1
