"""Bodies, piece by piece."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.server.fronts.framing import Body, ChunkedBody, HeadReader, LengthBody
from modelyard.server.fronts.limits import FrontConfig, Refused


def feed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    """What is left of ``data``, fed in pieces."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, stop in itertools.pairwise(places):
        at = body.feed(data[begin:stop], 0)
        if body.done:
            return data[begin + at :]
        assert at == stop - begin
    return b""


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    cuts=st.lists(st.integers(1, 400), max_size=10),
    rest=st.binary(max_size=9),
)
def test_chunks_come_back_as_one_body_however_they_are_cut(chunks: list[bytes], cuts: list[int], rest: bytes) -> None:
    data = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Trailer: 1\r\n\r\n"
    body = ChunkedBody(FrontConfig())
    left = feed(body, data + rest, cuts)
    assert rest.startswith(left)
    assert body.done
    assert bytes(body.taken) == b"".join(chunks)


@given(size=st.integers(1, 50), cuts=st.lists(st.integers(1, 60), max_size=5), rest=st.binary(max_size=9))
def test_a_body_of_known_length_ends_there(size: int, cuts: list[int], rest: bytes) -> None:
    body = LengthBody(size)
    left = feed(body, b"x" * size + rest, cuts)
    assert body.done
    assert bytes(body.taken) == b"x" * size
    assert rest.startswith(left)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_chunked_body_or_refused(data: bytes) -> None:
    body = ChunkedBody(FrontConfig(max_body_bytes=1000))
    try:
        at = body.feed(data, 0)
    except Refused as refused:
        assert refused.status in {400, 413, 431}  # noqa: PT017 - either outcome is right
    else:
        assert at <= len(data)
        assert body.done or at == len(data)


@given(
    st.lists(st.sampled_from([b"GET / HTTP/1.1", b"\r\n", b"Host: a", b"\n", b"X: y", b": ", b"\0", b"POST /a?b HTTP/1.0"]), max_size=12)
)
def test_any_head_is_read_or_refused(parts: list[bytes]) -> None:
    reader = HeadReader(FrontConfig())
    try:
        head = reader.read(b"".join(parts) + b"\r\n\r\n")
    except Refused as refused:
        assert refused.status in {400, 501, 505}  # noqa: PT017 - either outcome is right
    else:
        assert head.path.startswith("/")


def test_nothing_of_a_head_stays_for_the_next() -> None:
    reader = HeadReader(FrontConfig())
    first = reader.read(b"POST /a?b HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\nX: 1\r\nX: 2\r\n\r\n").headers
    with pytest.raises(Refused):
        reader.read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nBad Header\r\n\r\n")
    head = reader.read(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
    assert first[b"x"] == b"1, 2"
    assert head.headers == {b"host": b"b"}
    assert (head.method, head.path, head.query, head.length) == ("GET", "/", "", 0)
    assert (head.chunked, head.old, head.persistent, head.expects_continue) == (False, False, True, False)
