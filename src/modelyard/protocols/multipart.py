"""Forms with files (``multipart/form-data``, RFC 7578) that are in memory already."""

from __future__ import annotations

import re
from typing import NamedTuple

from modelyard.core.errors import InvalidRequest

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - no secret
_PARAMETER = re.compile(rf';\s*({_TOKEN})=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_MOST_PARTS = 64
_MOST_HEAD = 8192
_LONGEST_BOUNDARY = 200


class Field(NamedTuple):
    """One field of a form; ``filename`` is None where it is no file."""

    name: str
    filename: str | None
    value: bytes


def read_form(content_type: bytes | None, body: bytes) -> list[Field]:
    """The fields of a form, in order.

    Raises InvalidRequest when it is none, or is cut off.
    """
    text = (content_type or b"").decode("latin-1")
    kind, _, _ = text.partition(";")
    boundary = _parameters(text).get("boundary", "")
    if kind.strip().lower() != "multipart/form-data" or not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise InvalidRequest("The body must be a form: send multipart/form-data with a boundary.")
    mark = b"\r\n--" + boundary.encode("latin-1")
    # What stands before the first boundary means nothing; the line break of that one may be missing.
    at = 0 if body.startswith(mark[2:]) else body.find(mark) + 2
    if at == 1:
        raise InvalidRequest("The form does not have the boundary that its content-type names.")
    found: list[Field] = []
    at += len(mark) - 2
    while not body.startswith(b"--", at):
        end = body.find(mark, at)
        begin = body.find(b"\r\n", at)  # transport padding may stand behind a boundary
        if end < 0 or begin < 0 or body[at:begin].strip(b" \t"):
            raise InvalidRequest("The form is cut off or damaged; send it again.")
        found.append(_field(body, begin + 2, end))
        if len(found) > _MOST_PARTS:
            raise InvalidRequest(f"The form has more than {_MOST_PARTS} fields.")
        at = end + len(mark)
    return found


def _field(body: bytes, begin: int, end: int) -> Field:
    head_end = begin - 2 if body.startswith(b"\r\n", begin) else body.find(b"\r\n\r\n", begin, end)
    if head_end < 0 or head_end - begin > _MOST_HEAD:
        raise InvalidRequest("A field of the form has no heading that could be read.")
    disposition = ""
    for line in body[begin:head_end].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            disposition = value.decode("utf-8", errors="replace")
    known = _parameters(disposition)
    if not disposition.strip().lower().startswith("form-data") or "name" not in known:
        raise InvalidRequest("A field of the form has no name.")
    return Field(known["name"], known.get("filename"), body[head_end + 4 : end])


def _parameters(text: str) -> dict[str, str]:
    """Parameters of a header's value. Browsers write quotes within names as ``%22``, others escape them."""
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(text):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted).replace("%22", '"') if quoted else plain)
    return found
