"""Logs without secrets."""

import json
import logging
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.observability.logging import Behind, JsonFormatter, configure, redact

SECRET = "s3cretS3cretS3cret"


@pytest.mark.parametrize(
    "text",
    [
        f"key my_ab12cd34_{SECRET} was used",
        f"Authorization: Bearer {SECRET}",
        f"postgresql://ada:{SECRET}@db/yard",
        f"admin_key={SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"X-API-Key: {SECRET}",
        f"?token={SECRET}&x=1",
    ],
)
def test_secrets_are_taken_out(text):
    assert SECRET not in redact(text)
    assert "[redacted]" in redact(text)


def test_public_part_of_a_key_stays():
    assert "my_ab12cd34_" in redact(f"my_ab12cd34_{SECRET}")


@pytest.mark.parametrize("text", ["nothing to hide", "http://127.0.0.1:8000/v2/models/penguins", "42 tokens: fine"])
def test_plain_text_stays_as_it_is(text):
    assert redact(text).startswith(text[:9])


@given(st.text())
def test_any_text_is_taken(text):
    redact(text)


@pytest.fixture
def configured(tmp_path):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    for handler in before:
        root.removeHandler(handler)
    configure("worker-0", "info", tmp_path)
    yield tmp_path / "worker-0.log"
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_lines_are_json_with_extras_and_traceback(configured):
    logger = logging.getLogger("modelyard.test")
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        logger.exception("It failed\nbadly", extra={"job": 7, "url": f"https://u:{SECRET}@h"})
    line = json.loads(configured.read_text())
    assert (line["level"], line["process"], line["job"], line["message"]) == ("error", "worker-0", 7, "It failed\nbadly")
    assert "ValueError" in line["traceback"]
    assert SECRET not in configured.read_text()


def test_level_is_kept(configured):
    logging.getLogger("modelyard.test").debug("quiet")
    assert configured.read_text() == ""


class Slow(logging.Handler):
    """A disk that does not answer until it is let."""

    def __init__(self):
        super().__init__()
        self.free, self.asked, self.lines = threading.Event(), threading.Event(), []

    def emit(self, record):
        self.asked.set()
        self.free.wait(20)
        self.lines.append(json.loads(self.format(record)))


def test_who_logs_waits_for_no_disk_and_what_is_dropped_is_counted():
    slow = Slow()
    slow.setFormatter(JsonFormatter("worker-0"))
    handler = Behind(slow, most=3)
    logger = logging.Logger("quick")
    logger.addHandler(handler)
    logger.warning("line %d", 0)
    assert slow.asked.wait(20)
    changing = {"of": "then"}
    for number in range(1, 7):
        logger.warning("line %d %s", number, changing)
    changing["of"] = "later"
    assert slow.lines == []
    slow.free.set()
    until = time.monotonic() + 20
    while len(slow.lines) < 4 and time.monotonic() < until:
        time.sleep(0.005)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed 100%")
    handler.close()
    assert [line["message"] for line in slow.lines] == [
        "line 0",
        *[f"line {number} {{'of': 'then'}}" for number in (1, 2, 3)],
        "failed 100%",
    ]
    assert [line.get("dropped", 0) for line in slow.lines] == [0, 0, 0, 0, 3]
    assert "ValueError" in slow.lines[-1]["traceback"]


def test_what_waits_is_written_when_the_process_ends(tmp_path):
    code = (
        "import logging, os, pathlib, sys; from modelyard.observability.logging import configure;"
        "configure('worker-0', 'info', pathlib.Path(sys.argv[1]), behind=True);"
        "[logging.getLogger('x').info('line %d', n) for n in range(500)]; logging.shutdown(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert [json.loads(line)["message"] for line in (tmp_path / "worker-0.log").read_text().splitlines()] == [
        f"line {n}" for n in range(500)
    ]
