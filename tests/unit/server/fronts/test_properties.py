"""Whatever bytes come: nothing raises out of a front, every answer is framed, no request is answered twice."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from integration.fronts.corpus import BAD, GOOD
from integration.fronts.memory import ManualLoop, connect, front_of, split_replies
from modelyard.core.exchange import Exchange

_TOKENS = [
    b"GET / HTTP/1.1\r\n", b"HEAD /a HTTP/1.1\r\n", b"POST /b HTTP/1.0\r\n", b"Host: a\r\n", b"\r\n", b"\r\n\r\n",
    b"\n", b"\r", b" ", b":", b"\0",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"%", b"CONNECT a:1 HTTP/1.1\r\n",
]  # fmt: skip
_STREAMS = st.lists(
    st.one_of(st.sampled_from(_TOKENS), st.binary(max_size=20), st.sampled_from([case.data for case in (*GOOD, *BAD)])), max_size=25
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(data=_STREAMS, cuts=st.lists(st.integers(0, 3000), max_size=6), later=st.booleans(), end=st.booleans())
def test_random_streams_get_one_framed_answer_each(data: bytes, cuts: list[int], later: bool, end: bool) -> None:
    loop = ManualLoop()
    seen: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        assert not seen or seen[-1] not in waiting, "a second exchange is open"
        seen.append(exchange)
        if later:
            waiting.append(exchange)
        else:
            exchange.respond(200, (), b"done")

    waiting: list[Exchange] = []
    client = connect(front_of(handler, loop, max_body_bytes=4096, max_head_bytes=1024, max_target_bytes=256))
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for begin, stop in itertools.pairwise(places):
        client.feed(data[begin:stop])
        loop.turn()
        while waiting:
            waiting.pop().respond(200, (), b"done")
            loop.turn()
    if end:
        client.end()
    loop.advance(500)
    loop.close()
    assert client.closed
    final = [status for status, _, _ in split_replies(_without_head_bodies(client.written, seen)) if status != 100]
    assert final[: len(seen)] == [200] * len(seen)
    assert len(final) <= len(seen) + 1
    assert all(400 <= status < 600 for status in final[len(seen) :])


def _without_head_bodies(data: bytes, seen: list[Exchange]) -> bytes:
    """Answers to HEAD say a length but carry no body; puts the body in, so that all are split alike."""
    out, answered = b"", 0
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        out += head + b"\r\n\r\n"
        if head.startswith(b"HTTP/1.1 100"):
            continue
        size = int(head.rpartition(b"content-length: ")[2])
        if answered < len(seen) and seen[answered].method == "HEAD":
            out += b"done"
        else:
            out, data = out + data[:size], data[size:]
        answered += 1
    return out
