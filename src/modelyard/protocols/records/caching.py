"""Predictions by GET, which caches on the web can keep: validators, and who may keep an answer for how long.

A cache keeps answers to GET under their address, and hardly one keeps answers to POST, whose body it would have to compare (nginx can be
told to; CDNs and browsers cannot). So a record whose columns stand in the query is what can be cached. Its validator says all that the
answer depends on: the version that would answer and the columns, in any order. It is known before anything is computed, so a caller or a
cache that has the answer already costs no computing at all. It is a weak one, because the answer may be compressed or not.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from modelyard.core.web_policy import Caching
from modelyard.gate.openness import ANONYMOUS
from modelyard.protocols.call import Call

_VARY = (b"vary", b"authorization, x-api-key, origin")
"""The name of a deployment means what it means in the workspace of the key; pages of other origins are told that they may read."""


def validator(version_id: int, pairs: list[tuple[str, str]]) -> bytes:
    """The entity tag of the answer of a version to some columns."""
    text = "\n".join([str(version_id), *sorted(f"{len(name)}:{name}={value}" for name, value in pairs)])
    return b'W/"' + base64.urlsafe_b64encode(sha256(text.encode()).digest()[:18]) + b'"'


def is_known(tag: bytes, if_none_match: bytes | None) -> bool:
    """Whether the caller has the answer with this tag. Tags are compared weakly, as RFC 9110 has it for If-None-Match."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == b"*":
        return True
    bare = tag.removeprefix(b"W/")
    return any(candidate.strip().removeprefix(b"W/") == bare for candidate in if_none_match.split(b","))


def headers(call: Call, caching: Caching | None, tag: bytes) -> list[tuple[bytes, bytes]]:
    """Who may keep the answer. One that a key was needed for is its owner's; one that anybody gets may be kept by anybody."""
    if caching is None:
        return [(b"cache-control", b"no-store")]
    whose = "public" if call.grant.public_id == ANONYMOUS else "private"
    stale = caching.stale_while_revalidate_seconds
    control = f"{whose}, max-age={caching.max_age_seconds}" + (f", stale-while-revalidate={stale}" if stale else "")
    return [(b"cache-control", control.encode()), (b"etag", tag), _VARY]
