"""Logs without secrets."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.observability.logging import configure, redact

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
