"""A request's target (RFC 9112, 3.2) as path and query."""

from __future__ import annotations

import re
from typing import Final

from modelyard.server.fronts.limits import Refused

_PLAIN_PATH: Final = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"%?#\\")
_PRINTABLE: Final = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_KEPT: Final = {b"2f": b"%2F", b"25": b"%25"}


def split_target(target: bytes, method: str, host: bytes | None) -> tuple[str, str]:
    """Path and query of a target in origin, absolute (its host must be the Host field's) or asterisk form.

    The path is percent-decoded once. ``%2F`` and ``%25`` stay escaped, so decoding one segment once more gives back exactly what
    the client meant. Raises Refused for what is malformed or could be read in two ways: dot segments, backslashes, control
    characters, bytes that are not UTF-8.
    """
    if target[0] == 0x2F and not target.translate(None, _PLAIN_PATH) and b"/." not in target:
        return target.decode(), ""
    return _split_unusual(target, method, host)


def _split_unusual(target: bytes, method: str, host: bytes | None) -> tuple[str, str]:
    if target == b"*":
        if method != "OPTIONS":
            raise Refused(400, "The target '*' is for OPTIONS only; name a path.")
        return "/*", ""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        authority, target = absolute.groups()
        if not authority or (host is not None and authority.lower() != host.lower()):
            raise Refused(400, "The host in the target and the Host header differ; send the same one.")
        if not target.startswith(b"/"):
            target = b"/" + target
    if target[0] != 0x2F or target.translate(None, _PRINTABLE):
        raise Refused(
            400, "The target must be a path that begins with '/', in printable ASCII without a fragment; percent-encode the rest."
        )
    path, _, query = target.partition(b"?")
    if b"%" in query:
        _check_escapes(query)
    return decode_path(path), query.decode()


def decode_path(path: bytes) -> str:
    """A raw path percent-decoded once; raises Refused as ``split_target`` does."""
    if b"%" in path:
        _check_escapes(path)
        path = _ESCAPE.sub(_unescape, path)
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise Refused(400, "The path is not UTF-8 once its percent-encoding is removed.") from None
    if "\\" in text or _CONTROL.search(text):
        raise Refused(400, "The path contains a backslash or a control character.")
    if "." in text and any(segment in {".", ".."} for segment in re.split("/|%2F", text)):
        raise Refused(400, "The path contains '.' or '..' segments; send it without them.")
    return text


def _check_escapes(text: bytes) -> None:
    if any(found[1] is None for found in _ESCAPE.finditer(text)):
        raise Refused(400, "The target has a '%' that is not followed by two hexadecimal digits; write it as %25.")


def _unescape(found: re.Match[bytes]) -> bytes:
    digits = found[1].lower()
    return _KEPT.get(digits) or bytes.fromhex(digits.decode())
