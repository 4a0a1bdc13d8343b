"""Content codings of bodies: gzip and deflate, both ways, with a guard against bodies that explode."""

from __future__ import annotations

import zlib

from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported

_GZIP = 16 + zlib.MAX_WBITS
_MAX_RATIO = 200
_MAX_MEMBERS = 16
"""Streams that one gzip body may join; each costs a copy of what is left."""
_FREE = 1 << 20
"""Bytes below which the ratio is not looked at: a small body of zeros is honest."""
WORTH = 1024
"""Smaller answers are not compressed: it would cost more than it saves."""
INLINE = 1 << 20
"""Larger answers are not compressed either: the event loop would stand still for too long."""


def decompress(coding: bytes, body: bytes, limit: int) -> bytes:
    """The body without its content coding.

    Raises Unsupported for a coding other than gzip and deflate, InvalidRequest for damaged data, TooLarge when the result is over
    ``limit`` bytes or suspiciously larger than what came.
    """
    for name in reversed([part.strip().lower() for part in coding.split(b",")]):
        if name in (b"", b"identity"):
            continue
        if name not in (b"gzip", b"x-gzip", b"deflate"):
            shown = name.decode("latin-1")
            raise Unsupported(f"The body's content-encoding {shown!r} is not supported; send gzip, deflate or none.")
        body = _inflate(body, _window(name, body), limit, name.decode())
    return body


def _window(name: bytes, body: bytes) -> int:
    if name != b"deflate":
        return _GZIP
    # "deflate" means zlib's format, but some clients send the raw stream.
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def _inflate(body: bytes, window: int, limit: int, name: str) -> bytes:
    allowed = min(limit, max(_FREE, len(body) * _MAX_RATIO))
    parts: list[bytes] = []
    size, rest = 0, body
    while rest:
        engine = zlib.decompressobj(window)
        try:
            part = engine.decompress(rest, allowed - size + 1)
        except zlib.error:
            raise InvalidRequest(f"The body is not valid {name} data, as its content-encoding says.") from None
        size += len(part)
        if size > allowed:
            raise TooLarge(f"The {name} body unpacks to more than {allowed} bytes; send less at once, or uncompressed.")
        if not engine.eof:
            raise InvalidRequest(f"The {name} body ends early.")
        parts.append(part)
        if len(parts) == _MAX_MEMBERS and engine.unused_data:
            raise InvalidRequest(f"The {name} body joins more than {_MAX_MEMBERS} streams; send it as one.")
        rest = engine.unused_data if window == _GZIP else b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def choose(accepted: bytes) -> str:
    """``gzip``, ``deflate`` or an empty string: the coding an ``accept-encoding`` header allows and we prefer."""
    best, best_quality = "", 0.0
    for part in accepted.lower().split(b","):
        name, _, parameters = part.partition(b";")
        quality = _quality(parameters)
        coding = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate"}.get(name.strip(), "")
        if coding and quality > best_quality:
            best, best_quality = coding, quality
    return best


def _quality(parameters: bytes) -> float:
    name, _, value = parameters.strip().partition(b"=")
    if name.strip() != b"q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def compress(coding: str, body: bytes) -> bytes:
    """The body in a coding that ``choose`` gave; the fastest level, because the event loop waits for it."""
    engine = zlib.compressobj(1, zlib.DEFLATED, _GZIP if coding == "gzip" else zlib.MAX_WBITS)
    return engine.compress(body) + engine.flush()
