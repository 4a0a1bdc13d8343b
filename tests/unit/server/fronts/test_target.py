"""Targets as path and query. What is refused stands in the corpus of the integration tests."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.server.fronts.limits import Refused
from modelyard.server.fronts.target import split_target

_NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), min_size=1, max_size=20)


@given(name=_NAMES.filter(lambda name: not {".", ".."} & set(name.split("/"))))
def test_a_name_quoted_as_one_segment_comes_back_when_the_segment_is_decoded(name: str) -> None:
    path, query = split_target(f"/v2/{quote(name, safe='')}/x".encode(), "GET", b"a")
    _, _, segment, last = path.split("/")
    assert (segment.replace("%2F", "/").replace("%25", "%"), last, query) == (name, "x", "")


@given(st.binary(max_size=30))
def test_any_target_is_split_or_refused(rest: bytes) -> None:
    try:
        path, query = split_target(b"/" + rest, "GET", b"a")
    except Refused as refused:
        assert refused.status == 400  # noqa: PT017 - either outcome is right
        return
    assert path.startswith("/")
    assert path.isprintable() or not path.isascii()
    assert not {".", ".."} & set(unquote(path).split("/"))
    assert "#" not in query


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        (b"http://h/a?b", b"H", ("/a", "b")),
        (b"HTTPS://h:1", b"h:1", ("/", "")),
        (b"http://h?q", b"h", ("/", "q")),
        (b"http://h/a", None, ("/a", "")),
        (b"/http://x/a", b"h", ("/http://x/a", "")),
        (b"//x/a", b"h", ("//x/a", "")),
        (b"/a??b?", b"h", ("/a", "?b?")),
    ],
)
def test_forms_of_a_target(target: bytes, host: bytes | None, expected: tuple[str, str]) -> None:
    assert split_target(target, "GET", host) == expected
