from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.protocols.multipart import read_form

KIND = b"multipart/form-data; boundary=xx"
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(lambda text: "%22" not in text)


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=4), NAMES, st.binary(max_size=400))
def test_what_a_client_sends_is_read(fields, name, content):
    request = httpx.Request("POST", "http://x", data=fields, files={"file": (name, content)})
    found = read_form(request.headers["content-type"].encode(), request.read())
    assert {field.name: field.value for field in found if field.filename is None} == fields
    assert [(field.filename, field.value) for field in found if field.filename is not None] == [(name, content)]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body):
    for content in (body, b"--xx" + body, b"--xx\r\n" + body + b"\r\n--xx--"):
        try:
            read_form(KIND, content)
        except InvalidRequest:
            continue


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (None, b"", "multipart/form-data"),
        (b"application/json", b"{}", "multipart/form-data"),
        (b"multipart/form-data", b"--xx--", "boundary"),
        (KIND, b"nothing", "does not have the boundary"),
        (KIND, b'--xx\r\ncontent-disposition: form-data; name="a"\r\n\r\ncut', "cut off"),
        (KIND, b"--xx\r\n\r\nvalue\r\n--xx--", "no name"),
        (KIND, b'--xx\r\ncontent-disposition: attachment; name="a"\r\n\r\nx\r\n--xx--', "no name"),
        (KIND, b'--xx\r\ncontent-disposition: form-data; name="a"\r\n\r\nx\r\n' * 80 + b"--xx--", "more than 64"),
    ],
)
def test_what_is_no_form_is_refused(kind, body, said):
    with pytest.raises(InvalidRequest, match=said):
        read_form(kind, body)


def test_text_around_the_parts_means_nothing_and_content_may_hold_line_breaks():
    body = b'before\r\n--xx \t\r\nContent-Disposition: form-data; name="a"; filename="q%22.txt"\r\n\r\n--x\r\n\r\n--xx--after'
    (field,) = read_form(b'Multipart/Form-Data; charset=utf-8; boundary="xx"', body)
    assert field == ("a", 'q".txt', b"--x\r\n")
