"""Sticky assignment: calls of one key, or with one header value, go to the same version, in every worker and after a restart.

Weighted rendezvous hashing: each version draws a number for the caller from a hash, and the highest one wins after it is bent by
the version's weight. Nothing is stored, shares follow the weights, and when weights change only as many callers move as must.
(Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates"; the bending by weight, -w / ln(u), is Schindelhauer
and Schomaker's logarithmic method, 2005.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from modelyard.core import policy
from modelyard.serving.router import pin_of

_SPAN = 1 << 53


class StickyChoice:
    """Assigns callers to ``shares``, pairs of version id and weight."""

    def __init__(self, wanted: policy.Sticky, shares: Sequence[tuple[int, int]]) -> None:
        self._header = wanted.header.lower().encode()
        self._shares = [
            (blake2b(version_id.to_bytes(8, "big"), digest_size=8), weight, pin_of(version_id)) for version_id, weight in shares
        ]

    def choose(self, key_id: int, headers: Mapping[bytes, bytes]) -> str:
        """The pin of the caller's version; empty for a call without the header, and when there is nothing to choose from."""
        affinity = headers.get(self._header) if self._header else key_id.to_bytes(8, "big")
        if affinity is None or not self._shares:
            return ""
        return max([(_score(seed.copy(), weight, affinity), pin) for seed, weight, pin in self._shares])[1]


def _score(hasher: blake2b, weight: int, affinity: bytes) -> float:
    hasher.update(affinity)
    drawn = (int.from_bytes(hasher.digest(), "big") >> 11) + 0.5
    return -weight / math.log(drawn / _SPAN)
