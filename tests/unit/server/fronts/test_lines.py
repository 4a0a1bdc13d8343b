import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.server.fronts.framing import HeadReader
from modelyard.server.fronts.limits import FrontConfig, Refused
from modelyard.server.fronts.lines import KnownLines

OPENINGS = [
    b"GET /a HTTP/1.1",
    b"POST /a?b=1 HTTP/1.1",
    b"GET /a HTTP/1.0",
    b"GET  /a HTTP/1.1",
    b"GET http://a/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
]
NAMES = [b"Host", b"host", b"X-Request-Id", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Bad Name", b""]
VALUES = [
    b"a",
    b"b-1",
    b"5",
    b"5-5",
    b"-",
    b"",
    b"keep-alive",
    b"close",
    b"chunked",
    b"gzip",
    b"100-continue",
    b"h2c",
    b" a\t",
    b"a\nX: y",
    b"a\rb",
    b"\0",
]
LINES = st.builds(
    lambda name, colon, value: name + colon + value, st.sampled_from(NAMES), st.sampled_from([b": ", b":", b" : "]), st.sampled_from(VALUES)
)
HEADS = st.builds(
    lambda opening, lines: b"\r\n".join([opening, *lines, b"", b""]),
    st.sampled_from(OPENINGS),
    st.lists(st.one_of(LINES, st.sampled_from([b"Host: a", b"X-Request-Id: 1", b" folded"])), max_size=5),
)


def outcome(reader, head):
    try:
        found = reader.read(head)
    except Refused as refused:
        return refused.status
    framing = found.length, found.chunked, found.persistent, found.old, found.expects_continue
    return found.method, found.path, found.query, found.headers, *framing


@settings(max_examples=300)
@given(st.lists(HEADS, min_size=1, max_size=12))
def test_heads_that_were_read_before_change_nothing_of_what_another_says(heads):
    reader = HeadReader(FrontConfig())
    for head in heads:
        assert outcome(reader, head) == outcome(HeadReader(FrontConfig()), head)


@settings(max_examples=300)
@given(st.data())
def test_heads_of_one_form_are_read_as_each_of_them_alone(data):
    names = data.draw(st.permutations([b"Host: ", b"X-Request-Id: ", b"Content-Length: ", b"X: ", b"Connection: "]))
    usual = {b"Host: ": [b"a"], b"Content-Length: ": [b"5", b"7", b"x", b"1-1"], b"Connection: ": [b"keep-alive", b"close"]}
    values = [st.one_of(st.sampled_from(usual.get(name, [b"1", b"2-2"])), st.sampled_from([*VALUES, b"p_1", b"p_2"])) for name in names]
    reader = HeadReader(FrontConfig())
    for row in data.draw(st.lists(st.tuples(*values), min_size=3, max_size=12)):
        written = b"\r\n".join([b"POST /a HTTP/1.1", *(name + value for name, value in zip(names, row, strict=True)), b"", b""])
        assert outcome(reader, written) == outcome(HeadReader(FrontConfig()), written)


def head(*lines):
    return b"\r\n".join([b"POST /a HTTP/1.1", b"Host: a", *lines, b"", b""])


def test_a_head_of_known_lines_and_plain_values_needs_no_grammar():
    reader = HeadReader(FrontConfig())
    first = reader.read(head(b"X-Id: 1-f", b"Content-Length: 7"))
    lines = KnownLines()
    lines.learn(head(b"X-Id: 1-f", b"Content-Length: 7"), (b"POST", "/a", ""), first.headers)
    assert lines.read(head(b"X-Id: 2-e", b"Content-Length: 8")) == {b"host": b"a", b"x-id": b"2-e", b"content-length": b"8"}
    assert lines.form.opening == (b"POST", "/a", "")
    assert reader.read(head(b"Content-Length: 12", b"X-Id: 3")).length == 12


@pytest.mark.parametrize(
    "other",
    [
        head(b"X-Id: 1-f", b"Y: 1"),  # a field that is new
        head(b"X-Id: a b"),
        head(b"X-Id: \xe9"),
        head(b"X-Id: 1", b"X-Id: 2"),
        head(b"X-Id: 1", b" folded"),
        head(b"x-id: 1"),
        b"POST /b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: b\r\n\r\n",
    ],
)
def test_what_is_not_known_has_to_be_found_out(other):
    lines = KnownLines()
    lines.learn(head(b"X-Id: 1-f"), (b"POST", "/a", ""), {b"host": b"a", b"x-id": b"1-f"})
    assert lines.read(other) is None


def learned(*heads):
    reader = HeadReader(FrontConfig())
    for each in heads:
        reader.read(each)
    return reader


def test_what_varies_among_the_heads_of_a_client_is_looked_at_and_the_rest_compared_as_a_whole():
    reader = learned(*(head(b"X-Id: %d" % n, b"Key: my_%d" % (n % 2), b"Content-Length: 7") for n in range(6)))
    form = reader._lines.form
    assert form.framed
    assert form.read(head(b"X-Id: 9", b"Key: my_1", b"Content-Length: 7"), reader._lines._fields) == {
        b"host": b"a",
        b"x-id": b"9",
        b"key": b"my_1",
        b"content-length": b"7",
    }
    for other in (
        head(b"X-Id: 9", b"Key: my_2", b"Content-Length: 7"),  # a value that is not plain, and new
        head(b"X-Id: 9", b"Key: my_1", b"Content-Length: 8"),
        head(b"X-Id: 9", b"Key: my_1"),
        head(b"X-Id: 9", b"Key: my_1", b"Content-Length: 7", b"Y: 1"),
        head(b"X-Id: 9\rY: 1", b"Key: my_1", b"Content-Length: 7"),
        head(b"X-Id: " + b"9" * 600, b"Key: my_1", b"Content-Length: 7"),
        head(b"X-Id: 9", b"Key: my_1", b"Content-Length: 7")[:-4],
    ):
        assert form.read(other, reader._lines._fields) is None


def test_where_bodies_end_is_asked_anew_when_their_lengths_vary():
    reader = learned(*(head(b"Content-Length: %d" % n) for n in range(4)))
    assert not reader._lines.form.framed
    assert reader.read(head(b"Content-Length: 12")).length == 12
    with pytest.raises(Refused, match="plain decimal number"):
        reader.read(head(b"Content-Length: 1-2"))


def test_a_field_that_is_known_as_a_whole_line_only_does_not_vary():
    reader = learned(*(head(b"Connection: " + value) for value in (b"keep-alive", b"close", b"keep-alive", b"close")))
    assert reader.read(head(b"Connection: close")).persistent is False
    assert reader.read(head(b"Connection: keep-alive")).persistent is True


def test_a_few_forms_are_kept():
    heads = [head(b"X-%d: 1" % n) for n in range(9)]
    reader = learned(*heads, *heads)
    assert len(reader._lines._forms) == 4


def test_lines_of_a_head_with_a_folded_field_are_not_taken_in():
    lines = KnownLines()
    lines.learn(head(b"X: 1", b" 2"), (b"POST", "/a", ""), {b"host": b"a", b"x": b"1 2"})
    assert lines.read(head(b"X: 1")) is None


def test_many_different_lines_cost_no_memory():
    lines = KnownLines()
    for number in range(3000):
        value = b"%d" % number
        lines.learn(
            b"GET /%b HTTP/1.1\r\nHost: a\r\nX: _%b\r\n\r\n" % (value, value), (b"GET", "/", ""), {b"host": b"a", b"x": b"_" + value}
        )
    assert len(lines._fields) <= 1024
    assert len(lines._openings) <= 1024
