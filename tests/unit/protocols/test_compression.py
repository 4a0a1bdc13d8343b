import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest, ModelyardError, TooLarge, Unsupported
from modelyard.protocols.compression import choose, compress, decompress

LIMIT = 1 << 24


def raw_deflate(body):
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


@given(st.binary(max_size=5000))
def test_every_coding_gives_back_the_body(body):
    assert decompress(b"gzip", gzip.compress(body), LIMIT) == body
    assert decompress(b"X-GZIP", gzip.compress(body), LIMIT) == body
    assert decompress(b"deflate", zlib.compress(body), LIMIT) == body
    assert decompress(b"identity", body, LIMIT) == body
    assert decompress(b"deflate, gzip", gzip.compress(zlib.compress(body)), LIMIT) == body
    for coding in ("gzip", "deflate"):
        assert decompress(coding.encode(), compress(coding, body), LIMIT) == body


def test_raw_deflate_and_joined_gzip_members_are_understood():
    assert decompress(b"deflate", raw_deflate(b"hello" * 50), LIMIT) == b"hello" * 50
    assert decompress(b"gzip", gzip.compress(b"a") + gzip.compress(b"b"), LIMIT) == b"ab"


@pytest.mark.parametrize("body", [b"", b"hello", gzip.compress(b"x" * 100, mtime=0)[:-4], gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 9])
def test_damaged_bodies_are_refused(body):
    if body:
        with pytest.raises(InvalidRequest):
            decompress(b"gzip", body, LIMIT)
    else:
        assert decompress(b"gzip", body, LIMIT) == b""


def test_bombs_are_refused_before_they_unfold():
    with pytest.raises(TooLarge):
        decompress(b"gzip", gzip.compress(bytes(200_000_000), 9), 1 << 30)
    with pytest.raises(TooLarge):
        decompress(b"gzip", gzip.compress(b"x" * 2000), 1000)
    twice = gzip.compress(gzip.compress(bytes(200_000_000), 9), 9)
    with pytest.raises(TooLarge):
        decompress(b"gzip, gzip", twice, 1 << 30)


def test_a_body_of_countless_streams_is_refused():
    with pytest.raises(InvalidRequest, match="more than 16 streams"):
        decompress(b"gzip", gzip.compress(b"") * 17, LIMIT)
    assert decompress(b"gzip", gzip.compress(b"a") * 16, LIMIT) == b"a" * 16


def test_other_codings_are_refused():
    with pytest.raises(Unsupported, match="'br'"):
        decompress(b"br", b"x", LIMIT)


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [(b"gzip", "gzip"), (b"deflate", "deflate"), (b"gzip, deflate, br", "gzip"), (b"gzip;q=0.2, deflate", "deflate"), (b"gzip;q=0", ""),
     (b"br", ""), (b"*", ""), (b"", ""), (b"gzip;q=x", "")],
)  # fmt: skip
def test_the_best_accepted_coding_is_chosen(accepted, wanted):
    assert choose(accepted) == wanted


@given(st.binary(max_size=100), st.sampled_from([b"gzip", b"deflate"]))
def test_random_bytes_never_fail_otherwise(body, coding):
    with contextlib.suppress(ModelyardError):
        decompress(coding, body, LIMIT)


@given(st.binary(max_size=60))
def test_random_accept_headers_are_harmless(accepted):
    assert choose(accepted) in ("", "gzip", "deflate")
