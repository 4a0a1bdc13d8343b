"""Stored files as answers."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from fastapi import Response
from fastapi.responses import StreamingResponse

PIECE = 1 << 20
INLINE = frozenset({"image/png", "application/json", "text/plain"})
"""What a browser may show; anything else, SVG with its scripts too, is only for keeping."""


def sent(stream: BinaryIO, path: str, digest: str, size: int) -> Response:
    """A stream that is closed when its last piece has gone."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    shown = "inline" if kind in INLINE else "attachment"
    filename = PurePosixPath(path).name.encode("ascii", "replace").decode().replace('"', "'").replace("?", "_")
    headers = {
        "content-length": str(size),
        "content-disposition": f'{shown}; filename="{filename}"',
        "etag": f'"{digest}"',
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return StreamingResponse(_pieces(stream), headers=headers, media_type=kind)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(PIECE):
            yield piece
