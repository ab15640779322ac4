"""Content codings: every cut of the bytes gives the same body, bombs stop at the limit, broken bytes are said to be."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.wire.coding import Undecodable, decode, decode_request, decoder, readable

try:
    from compression import zstd
except ImportError:
    from backports import zstd


def _raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


CODERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"x-gzip", lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])),
    (b"deflate", zlib.compress),
    (b"deflate", _raw_deflate),
    (b"br", brotli.compress),
    (b"zstd", zstd.compress),
    (b"zstd", lambda data: zstd.compress(data[:7]) + zstd.compress(data[7:])),
]
coders = pytest.mark.parametrize(("coding", "code"), CODERS)


@coders
@given(data=st.binary(max_size=4000), cuts=st.lists(st.integers(min_value=1, max_value=700), max_size=20))
def test_any_cut_of_a_coded_body_decodes_to_the_same(
    coding: bytes, code: Callable[[bytes], bytes], data: bytes, cuts: list[int]
) -> None:
    coded = code(data)
    reader = decoder(coding, 10_000)
    assert reader is not None
    out, rest = b"", coded
    for cut in cuts:
        out += reader.feed(rest[:cut])
        rest = rest[cut:]
    out += reader.feed(rest)
    reader.finish()
    assert out == data


@coders
def test_a_bomb_stops_at_the_limit(coding: bytes, code: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Undecodable, match="larger"):
        decode(coding, code(b"\0" * 50_000_000), 1_000_000)


@coders
def test_a_body_that_ends_early_is_said_to(coding: bytes, code: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Undecodable):
        decode(coding, code(bytes(range(256)) * 40)[:-3], 1_000_000)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
@given(junk=st.binary(min_size=1, max_size=300))
def test_junk_is_refused_and_never_raises_anything_else(coding: bytes, junk: bytes) -> None:
    with contextlib.suppress(Undecodable):
        assert len(decode(coding, junk, 1000)) <= 1000


def test_all_four_codings_of_the_web_are_read_here() -> None:
    assert set(readable()) == {b"gzip", b"deflate", b"br", b"zstd"}


def test_a_request_in_an_unknown_coding_is_told_which_are_known() -> None:
    with pytest.raises(BadRequest, match="gzip") as caught:
        decode_request(b"lzma", b"x", 10)
    assert caught.value.status_hint == 415


def test_a_request_too_large_once_decoded_is_a_413() -> None:
    with pytest.raises(BadRequest, match="once decoded") as caught:
        decode_request(b"gzip", gzip.compress(b"x" * 2000), 1000)
    assert caught.value.status_hint == 413
