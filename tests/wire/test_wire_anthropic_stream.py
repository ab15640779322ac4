"""The meter of Anthropic streams: every event type, every kind of delta, any cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import ANTHROPIC
from headgate.wire.dialect import Meter, ProviderError
from headgate.wire.stream import THINKING, TOOLS


def event(kind: str, *, style: dict[str, Any] | None = None, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, **(style or {"separators": (",", ":"), "ensure_ascii": False}))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def delta(index: int = 0, *, style: dict[str, Any] | None = None, **fields: Any) -> bytes:
    return event("content_block_delta", style=style, index=index, delta=fields)


def text(words: str, index: int = 0) -> bytes:
    return delta(index, type="text_delta", text=words)


def block(index: int = 0, **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block=fields)


USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 2,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 1,
    "service_tier": "standard",
    "inference_geo": "us",
}
START = event("message_start", message={"id": "msg_1", "model": "claude-haiku-4-5", "content": [], "usage": USAGE})
PING = event("ping")
TEXT_START = block(type="text", text="")
STOP = event("content_block_stop", index=0)
DELTA = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 42})
END = event("message_stop")
FINAL = Usage(10, 2, 1, 4, 42, service_tier="standard", inference_geo="us")
COMMENT = b": keep-alive\n\n"


def read(*pieces: bytes, keep_text: bool = False, finish: bool = True) -> tuple[Meter, bytes]:
    meter = ANTHROPIC.meter("messages", Facts(), keep_text=keep_text)
    out = b"".join(map(meter.feed, pieces))
    return meter, out + (meter.finish() if finish else b"")


def facts(meter: Meter) -> dict[str, Any]:
    names = "usage usage_final model stop_reason started ended error content_bytes dropped_bytes"
    return {name: getattr(meter, name) for name in names.split()} | {"text": meter.text()}


@pytest.mark.parametrize("keep_text", [False, True])
def test_a_whole_stream_is_metered(keep_text: bool) -> None:
    stream = START + PING + TEXT_START + text("Hel") + text("lo, ") + text("wörld") + STOP + DELTA + END
    meter, out = read(stream, keep_text=keep_text)
    assert out == stream
    assert facts(meter) == {
        "usage": FINAL,
        "usage_final": True,
        "model": "claude-haiku-4-5",
        "stop_reason": "end_turn",
        "started": True,
        "ended": True,
        "error": None,
        "content_bytes": 13,
        "dropped_bytes": 0,
        "text": "Hello, wörld" if keep_text else "",
    }


def test_a_piece_of_whole_frames_is_handed_on_as_the_very_same_object() -> None:
    meter = ANTHROPIC.meter("messages", Facts())
    for piece in (START + PING, TEXT_START, text("a"), text("b") + text("c"), STOP + DELTA + END):
        assert meter.feed(piece) is piece


def test_a_partial_frame_waits_for_its_rest_so_that_an_error_event_behind_a_cut_can_be_read() -> None:
    meter = ANTHROPIC.meter("messages", Facts())
    assert meter.feed(START + text("b")[:20]) == START
    assert meter.feed(text("b")[20:]) == text("b")


@pytest.mark.parametrize("frame", [START, PING, COMMENT, TEXT_START, block(type="thinking", thinking="", signature="")])
def test_life_cycle_frames_are_no_content(frame: bytes) -> None:
    assert not read(frame)[0].started


@pytest.mark.parametrize(
    "frame",
    [
        text(""),
        text("x"),
        block(type="text", text="x"),
        block(type="tool_use", id="toolu_1", name="f", input={}),
        block(type="redacted_thinking", data="xyz"),
        block(type="web_search_tool_result", tool_use_id="t", content=[]),
        STOP,
        DELTA,
        event("some_new_event", x=1),
        b"event: newer_still\ndata: not json\n\n",
    ],
)
def test_everything_else_is_content(frame: bytes) -> None:
    meter, out = read(frame)
    assert (meter.started, meter.error, out) == (True, None, frame)


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (text("abc"), 3),
        (text("né"), 3),
        (delta(type="input_json_delta", partial_json='{"a":'), 7),
        (delta(type="thinking_delta", thinking="hmm"), 3),
        (delta(type="compaction_delta", content="sum"), 3),
        (delta(type="signature_delta", signature="sig="), 4),
        (delta(type="citations_delta", citation={"cited_text": "free"}), 0),
        (delta(type="newer_delta", text="?"), 0),
        (delta(style={}, type="text_delta", text="abc"), 3),
        (delta(style={"separators": (" , ", " : ")}, text="abc", type="text_delta"), 3),
        (text("abc").replace(b"}}\n", b"}     }\n"), 3),
        (block(type="text", text="é"), 2),
        (block(type="tool_use", name="calc", input={"a": 1}), 11),
        (block(type="redacted_thinking", data="xyz"), 3),
        (block(type="compaction", content=None), 0),
    ],
)
def test_generated_content_is_counted(frame: bytes, size: int) -> None:
    assert read(frame)[0].content_bytes == size
    assert read(frame, frame, frame)[0].content_bytes in (size * 3, size)  # a signature only where nothing else was
    assert read(frame.replace(b"\n", b"\r\n"))[0].content_bytes == size


def test_a_signature_counts_only_where_the_thinking_was_not_shown() -> None:
    start = block(type="thinking", thinking="", signature="")
    signature = delta(type="signature_delta", signature="s" * 9)
    assert read(text("ab") + start + signature)[0].content_bytes == 11
    assert read(text("ab") + start + delta(type="thinking_delta", thinking="hmm") + signature)[0].content_bytes == 5


@pytest.mark.parametrize(
    "reason",
    ["end_turn", "stop_sequence", "max_tokens", "tool_use", "pause_turn", "refusal", "compaction", "newer"],
)
def test_every_stop_reason_is_reported(reason: str) -> None:
    meter, _ = read(START, event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 0}), END)
    assert (meter.stop_reason, meter.ended, meter.usage_final) == (reason, True, True)


def test_the_last_cumulative_usage_stands() -> None:
    first = event("message_delta", delta={}, usage={"output_tokens": 20, "cache_read_input_tokens": 7})
    meter, _ = read(START, first)
    assert (meter.usage, meter.usage_final) == (
        Usage(10, 7, 1, 4, 20, service_tier="standard", inference_geo="us"),
        False,
    )
    meter, _ = read(START, first, DELTA, END)
    assert meter.usage == Usage(10, 7, 1, 4, 42, service_tier="standard", inference_geo="us")
    assert meter.usage_final


def told(stop_reason: str | None, count: int | None) -> bytes:
    usage = {} if count is None else {"usage": {"output_tokens": count}}
    return event("message_delta", delta={} if stop_reason is None else {"stop_reason": stop_reason}, **usage)


@pytest.mark.parametrize(
    "deltas",
    [
        (told("end_turn", None), told(None, 42)),
        (told(None, 42), told("end_turn", None)),
        (told("end_turn", 40), told(None, 42)),
        (told("end_turn", 40), told("end_turn", 42)),
        (told("end_turn", 42), told(None, None)),
    ],
    ids=["reason, count", "count, reason", "both, larger count", "both twice", "both, nothing"],
)
def test_a_usage_is_the_last_word_at_the_terminal_event_whatever_it_came_together_with(deltas: tuple[bytes]) -> None:
    meter, _ = read(START, *deltas, END)
    assert (meter.usage, meter.usage_final, meter.stop_reason) == (FINAL, True, "end_turn")


def test_the_count_of_the_start_alone_is_no_last_word() -> None:
    assert not read(START, text("x"), told("end_turn", None), END)[0].usage_final


def test_usage_before_its_final_count_is_not_the_last_word() -> None:
    meter, _ = read(START, text("x"))
    assert (meter.usage, meter.usage_final) == (
        Usage(10, 2, 1, 4, 1, service_tier="standard", inference_geo="us"),
        False,
    )
    assert read(PING)[0].usage is None
    no_count = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": -1})
    assert not read(START, no_count, END)[0].usage_final


@pytest.mark.parametrize("streamed", [START, START + TEXT_START + text("x"), START + DELTA, b""])
def test_a_stream_without_its_terminal_event_has_not_ended(streamed: bytes) -> None:
    assert not read(streamed)[0].ended


@pytest.mark.parametrize("end", [END[:-1], END[:-2], END.rstrip() + b"\r\n", END.replace(b"\n", b"\r")])
def test_a_terminal_event_without_its_blank_line_counts_at_the_end(end: bytes) -> None:
    meter, out = read(START + DELTA + end)
    assert (meter.ended, out) == (True, START + DELTA + end)


def test_half_a_terminal_event_is_none() -> None:
    assert not read(START + DELTA + END[:-6])[0].ended
    assert not read(START + DELTA + b"event: message_stop\n")[0].ended


def test_what_follows_the_terminal_event_is_dropped_and_counted() -> None:
    extra = b"\n: late\n\n" + text("more")
    meter, out = read(START + END + extra, b"and more")
    assert out == START + END
    assert (getattr(meter, "dropped_bytes"), meter.content_bytes) == (len(extra) + 8, 0)  # noqa: B009


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (
            event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
            ProviderError("overloaded_error", "", "Overloaded"),
        ),
        (
            event("error", error={"type": "t", "message": "m", "details": {"error_code": "c"}}, request_id="req_1"),
            ProviderError("t", "c", "m", "req_1"),
        ),
        (b'data: {"type":"error","error":{"type":"api_error","message":"m"}}\n\n', ProviderError("api_error", "", "m")),
        (b"event: error\ndata: gateway fell over\n\n", ProviderError(message="gateway fell over")),
    ],
)
def test_an_error_event_is_an_error_and_no_content(frame: bytes, error: ProviderError) -> None:
    meter, out = read(START, frame)
    assert (meter.error, meter.started, meter.ended, out) == (error, False, False, START + frame)


@pytest.mark.parametrize("kind", ["message_start", "content_block_start", "content_block_delta", "message_delta"])
def test_a_malformed_event_is_an_error_and_passes(kind: str) -> None:
    frame = f'event: {kind}\ndata: {{"type":"{kind}","del\n\n'.encode()
    meter, out = read(START, frame)
    assert meter.error is not None
    assert (meter.error.type, out) == ("malformed_event", START + frame)


def test_a_malformed_delta_among_good_ones_is_seen() -> None:
    meter, _ = read(START, text("a") + text("b") + text("c")[:-8] + b"\n\n" + text("d"))
    assert meter.error is not None
    assert meter.error.type == "malformed_event"


def test_a_cut_through_an_event_is_no_malformed_event_and_its_text_counts() -> None:
    meter, out = read(START, text("abc"), text("defgh")[:-8], keep_text=False)
    assert (meter.error, meter.ended, meter.content_bytes) == (None, False, 5)
    assert out.endswith(b'"text":"de')
    assert read(START, text("abc"), text("defgh")[:-8], keep_text=True)[0].content_bytes == meter.content_bytes
    assert read(START, START[:-30])[0].error is None


def test_an_event_larger_than_a_meter_reads_is_an_error_and_still_passes() -> None:
    big = text("x" * (9 << 20))
    for pieces in ([START, big, END], [START, big[: 5 << 20], big[5 << 20 :], END]):
        meter, out = read(*pieces)
        assert out == START + big + END
        assert meter.error is not None
        assert meter.error.type == "event_too_large"


def test_another_endpoints_stream_passes_unread() -> None:
    meter = ANTHROPIC.meter("other", Facts())
    assert (meter.feed(b"anything"), meter.started, meter.finish(), meter.ended) == (b"anything", True, b"", True)


WORDS = st.sampled_from(
    ["", "a", "word ", 'quote"', "back\\", '\\"', "né", "\n", "}} ", "event: error\ndata: {}"]
) | st.text(max_size=6)
DELTAS = st.builds(text, WORDS, st.sampled_from([0, 0, 0, 1, 12]))
OTHERS = st.sampled_from(
    [
        START,
        PING,
        COMMENT,
        b"\n",
        TEXT_START,
        STOP,
        DELTA,
        text("padded").replace(b"}}\n", b"}  }\n"),
        text("a b").replace(b"a b", b"a\n\nb"),  # which is no JSON
        delta(type="input_json_delta", partial_json='{"k": "v\\'),
        delta(type="thinking_delta", thinking="hm"),
        delta(type="signature_delta", signature="s"),
        delta(type="citations_delta", citation={"type": "x", "cited_text": 'a"b'}),
        block(type="tool_use", name="f", input={}),
        event("newer", a=[1]),
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"m"}}\n\n',
        b"event: message_start\ndata: {nope\n\n",
        END,
    ]
)
STREAMS = st.lists(st.lists(DELTAS, min_size=1, max_size=4).map(b"".join) | OTHERS, max_size=10).map(b"".join)
LINE_ENDS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=3) | st.just([b"\n"])


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(STREAMS, LINE_ENDS, st.lists(st.integers(0, 10**6), max_size=10), st.integers(0, 30), st.booleans())
@example(START + text("a") + text("b") + END, [b"\r\n"], [300, 301], 0, False)
def test_any_cut_gives_the_same_facts_and_the_same_bytes(
    stream: bytes, line_ends: list[bytes], places: list[int], missing: int, keep_text: bool
) -> None:
    lines = zip(stream.split(b"\n"), itertools.cycle(line_ends), strict=False)
    stream = b"".join(line + end for line, end in lines)
    stream = stream[: len(stream) - missing] if missing else stream
    whole, out = read(stream, keep_text=keep_text)
    pieces, out_pieces = read(*cut(stream, places), keep_text=keep_text)
    assert out_pieces == out
    assert facts(pieces) == facts(whole)
    assert stream.startswith(out)
    single, out_single = read(*(stream[i : i + 1] for i in range(len(stream))), keep_text=keep_text)
    assert (facts(single), out_single) == (facts(whole), out)


@given(STREAMS)
def test_counting_without_decoding_agrees_with_decoding(stream: bytes) -> None:
    quick, decoded = facts(read(stream)[0]), facts(read(stream, keep_text=True)[0])
    assert quick.pop("content_bytes") >= decoded.pop("content_bytes")
    assert quick | {"text": ""} == decoded | {"text": ""}


@given(st.lists(WORDS, max_size=8), st.booleans())
def test_text_is_never_undercounted_and_what_needs_no_escape_is_counted_exactly(words: list[str], whole: bool) -> None:
    frames = [START, TEXT_START, *map(text, words), STOP, DELTA, END]
    meter, _ = read(*([b"".join(frames)] if whole else frames))
    raw = [json.dumps(word, ensure_ascii=False)[1:-1].encode() for word in words]
    assert meter.content_bytes == sum(map(len, raw))
    assert meter.usage == FINAL


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=5))
def test_no_stream_raises(stream: bytes, places: list[int]) -> None:
    meter, out = read(*cut(stream, places))
    assert out == stream or meter.ended


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("usage", [{"input_tokens": 24, "output_tokens": 40}, {"output_tokens": 12}])
def test_a_usage_that_takes_back_what_was_told_is_wrong_and_the_larger_stays(
    usage: dict[str, int], looked: bool
) -> None:
    told = {"input_tokens": 25, "output_tokens": 40}
    start = event("message_start", message={"model": "m", "usage": told})
    meter, _ = read(start, text("a"), finish=False)
    assert not looked or (meter.usage is not None and not meter.usage.bad)  # and looking changes nothing
    for piece in (event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage), END):
        meter.feed(piece)
    meter.finish()
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (25, 40)
    assert (meter.usage.bad, meter.usage_final) == (True, False)


def test_what_kind_of_content_was_shown_is_told() -> None:
    tool = event("content_block_start", index=0, content_block={"type": "tool_use", "name": "f", "input": {}})
    assert read(START, text("a"))[0].kinds == 0
    assert read(START, tool)[0].kinds == TOOLS
    thought = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    sealed = delta(type="signature_delta", signature="0123456789")
    assert read(START, thought, delta(type="thinking_delta", thinking="hmm"), sealed)[0].kinds == THINKING
    hidden, _ = read(START, thought, sealed)
    assert (hidden.kinds, hidden.content_bytes, hidden.sealed_bytes) == (0, 10, 10)


@pytest.mark.parametrize(("words", "wide", "beyond"), [("abc", 0, 0), ("é", 2, 0), ("水x門", 6, 0), ("🌊é", 2, 4)])
def test_content_is_told_apart_by_the_length_of_its_characters(words: str, wide: int, beyond: int) -> None:
    for frames in ([text(words)], [text(words) * 3], list(map(bytes, (text(words)[:-9], text(words)[-9:])))):
        meter, _ = read(START, *frames)
        times = b"".join(frames).count(b"text_delta")
        assert (meter.wide_bytes, meter.beyond_bytes) == (wide * times, beyond * times)
