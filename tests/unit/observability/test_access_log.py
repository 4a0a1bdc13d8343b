"""The access log of a worker."""

import json

from modelyard.observability.access_log import Access, AccessLog


def entry(number=0):
    return Access(
        time=1_800_000_000_123_000_000,
        method="POST",
        path="/v2/models/penguins/infer",
        status=200,
        duration_us=850,
        peer="10.0.0.1",
        request_id=f"r{number}",
        key="ab12",
        protocol="open-inference-rest",
        deployment="penguins",
        bytes_in=10,
        bytes_out=20,
        rows=1,
        queue_us=0,
        compute_us=25,
    )


def test_entries_are_written_as_json_lines(tmp_path):
    log = AccessLog(tmp_path / "access.log")
    log.write([])
    assert not (tmp_path / "access.log").exists()
    log.write([entry(1), entry(2)])
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["r1", "r2"]
    assert lines[0]["time"] == "2027-01-15T08:00:00.123Z"
    assert lines[0]["duration_us"] == 850


def test_full_file_is_rotated_and_the_oldest_dropped(tmp_path):
    log = AccessLog(tmp_path / "access.log", max_bytes=1, kept=2)
    for number in range(5):
        log.write([entry(number)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["access.log", "access.log.1", "access.log.2"]
    assert json.loads((tmp_path / "access.log.2").read_text())["request_id"] == "r2"


def test_lines_that_cannot_be_written_are_counted_in_the_next_that_can(tmp_path):
    log = AccessLog(tmp_path / "missing" / "access.log")
    log.write([entry(1)])
    (tmp_path / "missing").mkdir()
    log.write([entry(2)])
    first, second = (json.loads(line) for line in (tmp_path / "missing" / "access.log").read_text().splitlines())
    assert first["dropped"] == 1
    assert second["request_id"] == "r2"
