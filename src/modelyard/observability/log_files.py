"""Reading what processes wrote to their logs, a piece at a time."""

from __future__ import annotations

import codecs
from pathlib import Path

from modelyard.core.api import LogChunk
from modelyard.observability.logging import redact

CHUNK_BYTES = 2**18


def read_log(path: Path, offset: int) -> LogChunk:
    """What stands from byte ``offset`` on, without secrets that are recognised, up to a limit; nothing of a log that is not there."""
    begin = max(0, offset)
    try:
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read(CHUNK_BYTES)
    except FileNotFoundError:
        return LogChunk(text="", next_offset=begin)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return LogChunk(text=redact(text), next_offset=begin + len(data) - len(decoder.getstate()[0]))
