"""New inputs from known ones: bytes flipped, cut, doubled, joined, and words of the formats put in."""

from __future__ import annotations

import random

_TEXT = r"""
0 -1 1e999 1e-999 NaN null true [] {} "" [[[[ 9223372036854775808 18446744073709551616 , " ; & = % : %00 %2e%2e \ud800
inputs records mass island demo version parameters classification binary_data_size timeout "data": "b64":"AA=="
"shape":[-1] "shape":[4294967296,4294967296] "datatype":"BYTES" "datatype":"FP16"
"""
_LINES = (b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"host: b\r\n", b"\r\n", b"\r\n\r\n", b"\n")
_BYTES = (b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x08")
WORDS = [*_TEXT.encode().split(), *_LINES, *_BYTES]
LONGEST = 4096


class Mutator:
    """Deterministic for its seed."""

    def __init__(self, seed: int, pool: list[bytes]):
        self.random = random.Random(seed)
        self.pool = list(pool) or [b""]

    def next(self) -> bytes:
        """Another input."""
        data = bytearray(self.random.choice(self.pool))
        for _ in range(self.random.choice((1, 1, 2, 3, 5, 8))):
            self._change(data)
        return bytes(data[:LONGEST])

    def _change(self, data: bytearray) -> None:
        pick, at = self.random, self.random.randrange(len(data) + 1)
        stop = min(len(data), at + pick.choice((1, 1, 2, 4, 16, 64)))
        match pick.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << pick.randrange(8)
            case 1:
                del data[at:stop]
            case 2:
                data[at:at] = data[at:stop] * pick.choice((1, 1, 2, 50))
            case 3:
                data[at:at] = pick.choice(WORDS)
            case 4:
                data[at:stop] = pick.choice(WORDS)
            case 5:
                other = pick.choice(self.pool)
                cut = pick.randrange(len(other) + 1)
                data[at:stop] = other[cut : cut + pick.choice((1, 8, 64, 512))]
            case _:
                data[at:at] = pick.randbytes(pick.choice((1, 2, 8)))
