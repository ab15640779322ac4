"""Framing (WHATWG HTML, section 9.2) does not depend on how the bytes were cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire import sse

LINES = st.sampled_from(
    [b"data: x", b"data:y", b"event: e", b": note", b"data", b"id: 3", b'data: {"a":1}', b"\xc3\xa9"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(lambda parts: b"".join(a + b for a, b in parts))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def events(pieces: list[bytes]) -> list[sse.Frame]:
    splitter = sse.Splitter()
    blocks = b"".join(splitter.feed(piece) for piece in pieces)
    found = [sse.parse(frame) for frame in [*sse.frames(blocks), splitter.rest()]]
    return [frame for frame in found if frame.event or frame.data is not None]


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
def test_any_cut_of_a_stream_gives_the_same_events_and_loses_no_byte(stream: bytes, places: list[int]) -> None:
    pieces = cut(stream, places)
    assert events(pieces) == events([stream])
    splitter = sse.Splitter()
    assert b"".join([*(splitter.feed(piece) for piece in pieces), splitter.rest()]) == stream


@given(STREAMS)
def test_frames_of_a_block_are_the_block(stream: bytes) -> None:
    assert b"".join(sse.frames(stream)) == stream


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_ends_a_line(end: bytes) -> None:
    stream = end.join([b"event: greeting", b"data: a", b"data: b", b"", b": note", b"", b"data:c", b"", b""])
    assert events([stream]) == [sse.Frame(b"greeting", b"a\nb"), sse.Frame(b"", b"c")]


def test_only_one_space_behind_the_colon_is_taken_off() -> None:
    assert sse.parse(b"data:  two\n\n").data == b" two"
    assert sse.parse(b"data:none\n\n").data == b"none"


def test_a_comment_has_no_data_and_an_empty_data_line_has_empty_data() -> None:
    assert sse.parse(b": keep-alive\n\n") == sse.Frame(b"", None)
    assert sse.parse(b"data\n\n") == sse.Frame(b"", b"")


def test_a_byte_order_mark_is_skipped_at_the_start_and_only_there() -> None:
    assert sse.parse(b"\xef\xbb\xbfdata: x\n\n", first=True).data == b"x"
    assert sse.parse(b"\xef\xbb\xbfdata: x\n\n").data is None


def test_whole_pieces_are_handed_back_without_a_copy() -> None:
    piece = b"data: x\n\n"
    assert sse.Splitter().feed(piece) is piece


@given(st.integers(1, 40), st.lists(st.integers(0, 100), max_size=8))
def test_a_frame_over_the_limit_is_refused_however_it_is_cut(size: int, places: list[int]) -> None:
    stream = b"data: ok\n\n" + b"x" * size + b"\n\n" + b"data: y\n\n"
    splitter = sse.Splitter(limit=20)

    def read() -> bytes:
        return b"".join(splitter.feed(piece) for piece in cut(stream, places))

    if size <= 20:
        assert read() == stream
    else:
        with pytest.raises(sse.FrameTooLarge, match="larger than 20 bytes"):
            read()


def test_what_came_before_and_after_a_refused_frame_is_not_lost() -> None:
    with pytest.raises(sse.FrameTooLarge) as caught:
        sse.Splitter(limit=20).feed(b"data: ok\n\n" + b"x" * 30 + b"\n\ndata")
    assert caught.value.block == b"data: ok\n\n"
    assert caught.value.rest == b"x" * 30 + b"\n\ndata"


def test_an_encoded_frame_reads_back() -> None:
    assert sse.parse(sse.encode(b"{}", "error")) == sse.Frame(b"error", b"{}")
    assert sse.parse(sse.encode(b"{}")) == sse.Frame(b"", b"{}")
