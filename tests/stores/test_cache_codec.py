"""Kept answers as bytes: everything comes back, and nothing that was touched is believed."""

from __future__ import annotations

import dataclasses
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.cache import Stored
from headgate.core.usage import Iteration, Usage
from headgate.stores.cache_codec import MOST_BYTES, VERSION, Codec, OtherVersion, Unbelievable

counts = st.integers(0, 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
iterations = st.builds(Iteration, texts, texts, counts, counts)
usages = st.builds(Usage, counts, counts, output_tokens=counts, service_tier=texts, bad=st.booleans(),
                   iterations=st.lists(iterations, max_size=3).map(tuple))  # fmt: skip
seconds = st.floats(0, 1e11, allow_nan=False)
answers = st.builds(
    Stored,
    kind=st.sampled_from(["whole", "stream"]),
    status=st.integers(200, 299),
    headers=st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=5).map(tuple),
    body=st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=50).map(lambda piece: piece * 400)),
    made=seconds,
    expires=seconds,
    model=texts,
    provider=texts,
    stop_reason=texts,
    usage=st.none() | usages,
    cost_nano=st.integers(0, 2**63 - 1),
    price_version=texts,
    exchange_id=texts,
    digest=st.binary(max_size=32),
)
keys = st.text(max_size=100)


@given(keys, answers, st.binary(max_size=100))
def test_every_answer_comes_back_as_it_was(key: str, stored: Stored, secret: bytes) -> None:
    codec = Codec(secret)
    assert codec.decode(key, codec.encode(key, stored)) == stored


@given(keys, answers, st.data())
def test_no_entry_with_one_bit_changed_or_some_of_it_missing_is_believed(
    key: str, stored: Stored, data: st.DataObject
) -> None:
    codec = Codec()
    entry = codec.encode(key, stored)
    at = data.draw(st.integers(0, len(entry) - 1))
    flipped = bytearray(entry)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for wrong in (bytes(flipped), entry[:at], entry + b"\x00"):
        with pytest.raises((Unbelievable, OtherVersion)):
            codec.decode(key, wrong)


@given(keys, keys, answers)
def test_no_entry_is_believed_under_another_key(key: str, other: str, stored: Stored) -> None:
    codec = Codec()
    if key != other:
        with pytest.raises(Unbelievable):
            codec.decode(other, codec.encode(key, stored))


@given(st.binary(max_size=300))
def test_whatever_lies_in_the_store_is_refused_in_one_of_two_ways(junk: bytes) -> None:
    with pytest.raises((Unbelievable, OtherVersion)):
        Codec().decode("a:1", junk)


def an_answer(body: bytes = b"{}") -> Stored:
    return Stored("whole", 200, (), body, 1.0, 2.0)


@pytest.mark.parametrize("secrets", [(b"", b"ours"), (b"ours", b""), (b"ours", b"theirs"), (b"x" * 65, b"x" * 64)])
def test_an_entry_of_somebody_without_the_secret_is_not_believed(secrets: tuple[bytes, bytes]) -> None:
    ours, theirs = map(Codec, secrets)
    with pytest.raises(Unbelievable):
        ours.decode("a:1", theirs.encode("a:1", an_answer()))


def test_long_answers_are_deflated_and_short_ones_are_not() -> None:
    codec = Codec()
    assert len(codec.encode("a:1", an_answer(b"word " * 10_000))) < 5_000
    assert b"word word" in codec.encode("a:1", an_answer(b"word " * 100))


def test_a_bomb_is_not_inflated_even_where_its_digest_is_right() -> None:
    codec = Codec()
    bomb = zlib.compress(b"\x00" * (MOST_BYTES + 1), 9)
    head = bytes((VERSION, 1))
    with pytest.raises(Unbelievable, match="cannot be read"):
        codec.decode("a:1", head + codec._digest("a:1", head, bomb) + bomb)


def test_something_else_with_a_right_digest_is_refused_too() -> None:
    codec = Codec()
    head = bytes((VERSION, 0))
    for rest in (b"\x80", b"\xc0", b"junk", b""):
        with pytest.raises(Unbelievable):
            codec.decode("a:1", head + codec._digest("a:1", head, rest) + rest)


def test_why_it_is_not_believed_says_nothing_of_what_is_in_it() -> None:
    codec = Codec()
    entry = codec.encode("a:1", an_answer(b"adas secret"))
    with pytest.raises(Unbelievable) as caught:
        codec.decode("a:2", entry)
    assert "secret" not in str(caught.value)


def test_a_text_that_is_none_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        Codec().encode("a:1", dataclasses.replace(an_answer(), model="\ud800"))


def test_whoever_changes_the_fields_of_an_answer_counts_the_version_on() -> None:
    fields = {cls.__name__: [field.name for field in dataclasses.fields(cls)] for cls in (Stored, Usage, Iteration)}
    assert (VERSION, zlib.crc32(repr(fields).encode())) == (1, 3026083828)
