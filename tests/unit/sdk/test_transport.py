"""Retries, errors and streams, against a server that is only pretended."""

from __future__ import annotations

import io
from collections.abc import Callable

import httpx
import pytest

from modelyard.core.errors import Conflict, DeadlineExceeded, Internal, LimitExceeded, NotFound, TooLarge, Unavailable, error_codes
from modelyard.sdk import transport as module
from modelyard.sdk.failures import BY_STATUS, error_from
from modelyard.sdk.settings import ClientSettings
from modelyard.sdk.transport import Transport

SETTINGS = ClientSettings(url="http://server", key="secret", inference_url="", timeout=1, retries=3)
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(module, "sleep", waits.append)
    return waits


def transport(answer: Answer) -> Transport:
    return Transport(SETTINGS, httpx.MockTransport(answer))


def in_turn(*answers: httpx.Response | Exception) -> Answer:
    waiting = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        found = waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return answer


def test_the_key_goes_with_every_call() -> None:
    seen: list[str] = []
    client = transport(lambda request: (seen.append(request.headers["authorization"]), httpx.Response(200, json=1))[1])
    assert client.fetch(int, "GET", "/x") == 1
    assert seen == ["Bearer secret"]


def test_a_get_is_repeated_after_a_503_as_long_as_the_server_asked(slept: list[float]) -> None:
    client = transport(in_turn(httpx.Response(503, headers={"retry-after": "2"}), httpx.ConnectError("no"), httpx.Response(200, json=7)))
    assert client.fetch(int, "GET", "/x") == 7
    assert slept[0] == 2.0
    assert 0 < slept[1] < 1


def test_a_long_wait_is_handed_to_the_caller(slept: list[float]) -> None:
    client = transport(in_turn(httpx.Response(503, headers={"retry-after": "3600"})))
    with pytest.raises(Unavailable) as found:
        client.fetch(int, "GET", "/x")
    assert found.value.retry_after == 3600.0
    assert slept == []


def test_a_post_is_not_repeated_once_it_may_have_arrived(slept: list[float]) -> None:
    with pytest.raises(Unavailable, match="broke"):
        transport(in_turn(httpx.ReadError("reset"))).fetch(int, "POST", "/x")
    with pytest.raises(Unavailable):
        transport(in_turn(httpx.Response(503))).fetch(int, "POST", "/x")
    assert slept == []


def test_a_server_that_is_not_there_is_named_with_the_way_to_start_one(slept: list[float]) -> None:
    with pytest.raises(Unavailable, match=r"http://server.*modelyard up --detach"):
        transport(in_turn(*[httpx.ConnectError("no")] * 4)).fetch(int, "GET", "/x")
    assert len(slept) == 3


def test_a_slow_answer_is_a_deadline_and_not_asked_again(slept: list[float]) -> None:
    with pytest.raises(DeadlineExceeded):
        transport(in_turn(httpx.ReadTimeout("slow"))).fetch(int, "GET", "/x")
    assert slept == []


def test_an_answer_that_does_not_fit_is_told_apart_from_a_refusal() -> None:
    with pytest.raises(Internal, match="same version"):
        transport(in_turn(httpx.Response(200, text="<html>"))).fetch(int, "GET", "/x")


@pytest.mark.parametrize("kind", error_codes().values(), ids=lambda kind: kind.code)
def test_every_code_becomes_its_own_error(kind: type) -> None:
    error = error_from(400, httpx.Headers(), b'{"error": {"code": "%s", "message": "So."}}' % kind.code.encode())
    assert (type(error), error.message) == (kind, "So.")


@pytest.mark.parametrize(("status", "kind"), BY_STATUS.items())
def test_without_a_code_the_status_decides(status: int, kind: type) -> None:
    error = error_from(status, httpx.Headers({"retry-after": "9"}), b'{"error": "Model is loading"}')
    assert (type(error), error.message, error.retry_after) == (kind, "Model is loading", 9.0)


def test_a_proxys_page_is_shown_in_part_only() -> None:
    assert type(error_from(502, httpx.Headers({"retry-after": "Wed, 21 Oct"}), b"\xff<html>" * 200)) is Internal
    assert type(error_from(418, httpx.Headers(), b"")).code == "invalid_request"
    assert len(error_from(502, httpx.Headers(), b"x" * 9999).message) < 300


def test_an_upload_says_its_size_reports_and_is_refused_in_words() -> None:
    seen: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-length"] == "3"
        assert request.read() == b"abc"
        return httpx.Response(200, json=1)

    file = io.BytesIO(b"--abc")
    file.seek(2)
    assert transport(answer).upload(int, "PUT", "/x", file, on_bytes=seen.append) == 1
    assert seen == [3]
    refusal = httpx.Response(413, json={"error": {"code": "too_large", "message": "Too large."}})
    with pytest.raises(TooLarge, match=r"Too large\."):
        transport(in_turn(refusal)).upload(int, "PUT", "/x", io.BytesIO(b"a"))
    with pytest.raises(Unavailable):
        transport(in_turn(httpx.ConnectError("no"))).upload(int, "PUT", "/x", io.BytesIO(b"a"))


def test_a_download_writes_what_comes_and_raises_what_is_refused() -> None:
    out = io.BytesIO()
    assert transport(in_turn(httpx.Response(200, content=b"abc"))).download("/x", out) == 3
    assert out.getvalue() == b"abc"
    with pytest.raises(NotFound):
        transport(in_turn(httpx.Response(404))).download("/x", out)
    with pytest.raises(Unavailable):
        transport(in_turn(httpx.ReadError("cut"))).download("/x", out)


def test_parameters_without_a_value_are_not_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://server/x?a=1&tags=b&tags=c"
        return httpx.Response(200, json=1)

    transport(answer).fetch(int, "GET", "/x", params={"a": 1, "none": None, "empty": "", "tags": ["b", "c"]})


@pytest.mark.parametrize(("status", "kind"), [(409, Conflict), (429, LimitExceeded)])
def test_refusals_are_not_repeated(status: int, kind: type, slept: list[float]) -> None:
    with pytest.raises(kind):
        transport(in_turn(httpx.Response(status))).fetch(int, "GET", "/x")
    assert slept == []
