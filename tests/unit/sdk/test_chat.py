"""The stream of a chat, cut into pieces anywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Internal, Unavailable
from modelyard.sdk.chat import ChatReader


def event(**more):
    return b"data: " + json.dumps(more).encode() + b"\n\n"


def said(text="", finish=None):
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


WHOLE = said("Grüße ") + b": a comment\n\n" + said("aus Köln") + said(finish="stop") + event(choices=[], usage={"total_tokens": 3})


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_pieces_may_be_cut_anywhere(cuts):
    ends = [*sorted(cuts), len(WHOLE)]
    reader = ChatReader()
    pieces = [reader.feed(WHOLE[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    assert "".join(piece.text for piece in pieces if piece) == "Grüße aus Köln"
    reader.feed(b"data: [DONE]\n\n")
    assert reader.last() == ("", "stop", {"total_tokens": 3})


def test_an_answer_that_is_cut_off_is_no_answer():
    reader = ChatReader()
    reader.feed(WHOLE)
    with pytest.raises(Internal, match="cut off"):
        reader.last()


def test_an_error_on_the_way_is_raised():
    with pytest.raises(Unavailable, match="too many"):
        ChatReader().feed(event(error={"code": "unavailable", "message": "There are too many calls."}))
