"""What a request's ``traceparent`` says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.protocols.context import read_context

TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
GRAMMAR = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
"""https://www.w3.org/TR/trace-context/#traceparent-header-field-values, with what later versions may add."""


def read(value):
    return read_context({b"traceparent": value}, 0)


@pytest.mark.parametrize(("flags", "sampled"), [(b"00", False), (b"01", True), (b"0a", False), (b"ff", True)])
def test_an_answer_tells_of_the_trace_and_a_span_of_its_own(flags, sampled):
    context = read(b"00-%b-%b-%b" % (TRACE, PARENT, flags))
    assert (context.trace, context.parent, context.sampled) == (TRACE.decode(), PARENT.decode(), sampled)
    assert re.fullmatch(rf"00-{context.trace}-{context.span}-0{int(sampled)}", context.told.decode())
    assert re.fullmatch("[0-9a-f]{16}", context.span)
    assert context.span != context.parent


@given(
    st.tuples(
        st.sampled_from([b"00", b"01", b"fe", b"ff", b"0F", b"0"]),
        st.sampled_from([b"-", b"_", b"--"]),
        st.sampled_from([TRACE, b"0" * 32, TRACE[1:], TRACE[:-1] + b"G", TRACE[:-1] + b"-"]),
        st.just(b"-"),
        st.sampled_from([PARENT, b"0" * 16, PARENT + b"0", PARENT[:8] + b"-" + PARENT[9:]]),
        st.sampled_from([b"-", b" "]),
        st.sampled_from([b"00", b"01", b"1", b"0x"]),
        st.sampled_from([b"", b"-", b"-more", b"more", b"-01-02"]),
    ).map(b"".join)
    | st.binary(max_size=70)
)
def test_it_is_read_as_its_grammar_says_and_ignored_otherwise(value):
    found = GRAMMAR.fullmatch(value)
    good = found is not None and found[1] != b"ff" and not (found[1] == b"00" and found[5]) and int(found[2], 16) and int(found[3], 16)
    context = read(value)
    assert bool(context.trace) == bool(good)
    assert bool(context.told) == bool(good)
    if good:
        assert (context.trace.encode(), context.parent.encode(), context.sampled) == (found[2], found[3], bool(int(found[4], 16) & 1))
