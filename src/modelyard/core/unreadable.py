"""What reading a document raises."""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec's decoders raise for bytes that are not what was expected: no JSON, of other types, no UTF-8, nested without end."""
