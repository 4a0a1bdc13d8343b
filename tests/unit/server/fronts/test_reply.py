"""Answer heads as bytes."""

from __future__ import annotations

import json

import pytest

from modelyard.server.fronts.reply import ReplyEncoder, refusal_body


def test_constant_heads_are_encoded_once_and_the_store_of_them_is_bounded() -> None:
    encoder = ReplyEncoder()
    fields = ((b"content-type", b"text/plain"),)
    assert encoder.head(200, fields) is encoder.head(200, fields)
    assert encoder.head(201, fields) != encoder.head(200, fields)
    for number in range(2000):
        encoder.head(200, ((b"x-number", b"%d" % number),))
    assert len(encoder.constants) <= 512
    assert encoder.head(200, fields) == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def test_heads_of_one_answer_are_not_kept() -> None:
    encoder = ReplyEncoder()
    encoder.head(200, [(b"x-request-id", b"1")])
    assert encoder.constants == {}


def test_the_date_is_as_it_was_last_set() -> None:
    encoder = ReplyEncoder()
    encoder.set_date(784111777)
    assert encoder.keep_tail == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: "
    assert encoder.close_tail.startswith(b"connection: close\r\n")


def test_unusual_statuses_have_a_line_too() -> None:
    assert ReplyEncoder().head(299, ()) == b"HTTP/1.1 299 -\r\n"


@pytest.mark.parametrize("status", [100, 199, 600, 0])
def test_statuses_that_are_no_answer_are_errors(status: int) -> None:
    with pytest.raises(ValueError, match="not the status of an answer"):
        ReplyEncoder().head(status, ())


@pytest.mark.parametrize("name", [b"", b"Upper", b"a b", b"a:", b"date", b"transfer-encoding", b"content-length", b"caf\xe9"])
def test_names_that_are_not_the_handlers_are_errors(name: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        ReplyEncoder().head(200, ((name, b"x"),))


def test_a_refusal_is_json_whatever_its_sentence() -> None:
    assert json.loads(refusal_body('a "quoted" <é>\n')) == {"error": 'a "quoted" <é>\n'}
    whole = ReplyEncoder().refusal(400, "no", "1f")
    assert whole.endswith(b'content-length: 15\r\n\r\n{"error": "no"}')
    assert b"connection: close\r\n" in whole
    assert ReplyEncoder().refusal(400, "no", "1f", with_body=False).endswith(b"content-length: 15\r\n\r\n")


def test_shared_fields_are_encoded_once_for_answers_in_a_row():
    encoder = ReplyEncoder()
    first, second = ((b"x-ratelimit-remaining-requests", b"5"),), ((b"x-ratelimit-remaining-requests", b"4"),)
    encoded = encoder.fields(first)
    assert encoded == b"x-ratelimit-remaining-requests: 5\r\n"
    assert encoder.fields(first) is encoded
    assert encoder.fields(second) == b"x-ratelimit-remaining-requests: 4\r\n"
    assert encoder.fields(first) == encoded


@pytest.mark.parametrize("field", [(b"x-a", b"1\r\nx-b: 2"), (b"content-length", b"5"), (b"X-A", b"1")])
def test_shared_fields_are_checked_like_others(field):
    encoder = ReplyEncoder()
    with pytest.raises(ValueError, match="header"):
        encoder.fields((field,))
