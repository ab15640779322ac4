"""The meter of OpenAI streams and of compatible providers': chunks, usage anywhere, the hidden chunk, any cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import OPENAI
from headgate.wire.dialect import Meter, ProviderError

HEAD = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-4o-2024",
    "service_tier": "flex",
}
DONE = b"data: [DONE]\n\n"
COMMENT = b": OPENROUTER PROCESSING\n\n"


def frame(value: Any, *, style: dict[str, Any] | None = None) -> bytes:
    return f"data: {json.dumps(value, **(style or {'separators': (',', ':'), 'ensure_ascii': False}))}\n\n".encode()


def chunk(delta: Any, finish: Any = None, *, index: int = 0, style: dict[str, Any] | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return frame({**HEAD, "choices": [choice], "usage": None, **more}, style=style)


def text(words: str, **more: Any) -> bytes:
    return chunk({"content": words}, **more)


ROLE = chunk({"role": "assistant", "content": "", "refusal": None})
FINISH = chunk({}, "stop")
COUNTS = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
USAGE = frame({**HEAD, "choices": [], "usage": COUNTS})
AZURE = frame({"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "model": "", "usage": None})
FINAL = Usage(10, output_tokens=4, service_tier="flex")


def read(
    *pieces: bytes, asked: bool = True, choices: int = 1, keep_text: bool = False, finish: bool = True
) -> tuple[Meter, bytes]:
    meter = OPENAI.meter("chat", Facts(include_usage=asked, choices=choices, stream=True), keep_text=keep_text)
    out = b"".join(map(meter.feed, pieces))
    return meter, out + (meter.finish() if finish else b"")


def facts(meter: Meter) -> dict[str, Any]:
    names = "usage usage_final model stop_reason started ended error content_bytes dropped_bytes"
    return {name: getattr(meter, name) for name in names.split()} | {"text": meter.text()}


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("keep_text", [True, False])
def test_a_whole_stream_is_metered_and_only_an_unasked_usage_chunk_is_hidden(asked: bool, keep_text: bool) -> None:
    frames = [AZURE, ROLE, text("Hel"), text("lo, "), text("wörld"), COMMENT, FINISH, USAGE, DONE]
    meter, out = read(b"".join(frames), asked=asked, keep_text=keep_text)
    assert out == b"".join(f for f in frames if asked or f is not USAGE)
    assert facts(meter) == {
        "usage": FINAL,
        "usage_final": True,
        "model": "gpt-4o-2024",
        "stop_reason": "stop",
        "started": True,
        "ended": True,
        "error": None,
        "content_bytes": 13,
        "dropped_bytes": 0,
        "text": "Hello, wörld" if keep_text else "",
    }


@pytest.mark.parametrize("asked", [True, False])
def test_a_piece_of_whole_frames_is_handed_on_as_the_very_same_object(asked: bool) -> None:
    meter = OPENAI.meter("chat", Facts(include_usage=asked))
    for piece in (AZURE + ROLE, text("a"), text("b") + text("c"), COMMENT, FINISH + DONE):
        assert meter.feed(piece) is piece


@pytest.mark.parametrize("asked", [True, False])
def test_a_partial_frame_waits_for_its_rest_or_for_the_end(asked: bool) -> None:
    half, rest = text("a")[:30], text("a")[30:]
    assert read(half, asked=asked, finish=False)[1] == b""
    assert read(half, rest, asked=asked, finish=False)[1] == half + rest
    assert read(half, asked=asked)[1] == half


def test_a_hidden_chunk_without_its_blank_line_is_hidden_at_the_end() -> None:
    meter, out = read(FINISH, USAGE[:-2], asked=False)
    assert (out, meter.usage, meter.usage_final, meter.ended) == (FINISH, FINAL, True, True)
    assert read(FINISH, USAGE[:-9], asked=False)[1] == FINISH + USAGE[:-9]


@pytest.mark.parametrize(
    "frame_",
    [
        AZURE,
        chunk({"content": "x"}, usage=COUNTS),
        chunk({}, "stop", usage=COUNTS),
        frame({"choices": [], "usage": None}),
        frame({"choices": [], "x_groq": {"usage": COUNTS}}),
        frame({"choices": [], "usage": COUNTS, "error": {"message": "m"}}),
    ],
)
def test_nothing_but_the_extra_chunk_is_hidden(frame_: bytes) -> None:
    assert read(ROLE, frame_, DONE, asked=False)[1] == ROLE + frame_ + DONE


@pytest.mark.parametrize(
    "frame_", [ROLE, AZURE, COMMENT, USAGE, b"\n\n", chunk({}), chunk({"content": None}), chunk(None)]
)
def test_life_cycle_frames_are_no_content(frame_: bytes) -> None:
    assert not read(frame_)[0].started


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ({"content": "né"}, 3),
        ({"refusal": "no"}, 2),
        ({"reasoning_content": "hmm", "content": None}, 3),
        ({"reasoning": "hmm"}, 3),
        ({"reasoning": "hmm", "reasoning_content": "hmm"}, 3),
        ({"reasoning_details": [{"type": "reasoning.encrypted"}]}, 0),
        ({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "calc", "arguments": ""}}]}, 4),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{1}"}}]}, 3),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, 3),
        ({"tool_calls": [{"index": 0, "custom": {"name": "f", "input": "xy"}}]}, 3),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
        ({"audio": {"id": "a", "transcript": "hi", "data": "AAAA"}}, 6),
    ],
)
def test_generated_content_starts_the_answer_and_is_counted(delta: Any, size: int) -> None:
    for one in (
        chunk(delta),
        chunk(delta, style={}),
        chunk(delta, obfuscation="xY1"),
        chunk(delta).replace(b"\n", b"\r\n"),
    ):
        assert (read(one)[0].started, read(one)[0].content_bytes) == (True, size)
        assert read(one, one + one)[0].content_bytes == 3 * size


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call", "newer"])
def test_every_finish_reason_is_reported(reason: str) -> None:
    meter, _ = read(chunk({}, reason))
    assert (meter.stop_reason, meter.started, meter.ended) == (reason, True, True)


def test_the_stop_reason_is_the_first_choices() -> None:
    meter, _ = read(chunk({}, "length", index=1), chunk({}, "stop", index=0), chunk({}, "length", index=2), choices=3)
    assert (meter.stop_reason, meter.ended) == ("stop", True)


@pytest.mark.parametrize(
    "frames",
    [
        [ROLE, text("x")],
        [ROLE, text("x", index=1), FINISH],
        [b""],
        [COMMENT],
        [chunk({}, "stop"), b"data: [DON"] * 0 + [ROLE, b"data: [DON"],
    ],
)
def test_a_stream_without_its_terminal_event_has_not_ended(frames: list[bytes]) -> None:
    assert not read(*frames)[0].ended
    assert not read(FINISH, choices=2)[0].ended


def test_a_finished_answer_without_usage_and_done_is_over_only_where_nobody_expects_them() -> None:
    for strict, ended in ((True, False), (False, True)):
        meter = OPENAI.meter("chat", Facts(stream=True), strict=strict)
        meter.feed(ROLE + text("a") + FINISH)
        meter.finish()
        assert (meter.ended, meter.usage_final) == (ended, False)
    for rest in (DONE, USAGE):
        meter = OPENAI.meter("chat", Facts(stream=True), strict=True)
        meter.feed(ROLE + text("a") + FINISH + rest)
        meter.finish()
        assert meter.ended


@pytest.mark.parametrize(
    "done", [DONE, b"data:[DONE]\n\n", b"data: [DONE]", b"data: [DONE]\r\n\r\n", b"data: [DONE]\n"]
)
def test_done_ends_the_answer_in_every_spelling(done: bytes) -> None:
    meter, out = read(ROLE, done)
    assert (meter.ended, out) == (True, ROLE + done)


@pytest.mark.parametrize("asked", [True, False])
def test_what_follows_done_is_dropped_and_counted(asked: bool) -> None:
    meter, out = read(ROLE, DONE + b"\n" + text("late"), b"data", asked=asked)
    assert out == ROLE + DONE
    assert (facts(meter)["dropped_bytes"], meter.content_bytes) == (1 + len(text("late")) + 4, 0)


def test_usage_is_taken_from_any_chunk_and_the_last_wins() -> None:
    running = [text("a", usage={**COUNTS, "completion_tokens": n}) for n in (1, 2, 3)]
    meter, out = read(*running, asked=False)
    assert (meter.usage, meter.usage_final, out) == (
        Usage(10, output_tokens=3, service_tier="flex"),
        False,
        b"".join(running),
    )
    assert read(*running, FINISH, DONE)[0].usage_final
    assert read(text("a"), chunk({}, "stop", usage=COUNTS))[0].usage_final
    assert read(FINISH, frame({"choices": [], "x_groq": {"usage": COUNTS}}))[0].usage == FINAL


@pytest.mark.parametrize("counts", [None, {}, [], "x"])
def test_a_usage_without_counts_is_none(counts: Any) -> None:
    meter, _ = read(ROLE, FINISH, frame({"choices": [], "usage": counts}), DONE)
    assert (meter.usage, meter.usage_final, meter.error) == (None, False, None)


@pytest.mark.parametrize("counts", [{"prompt_tokens": -1}, {"prompt_tokens": "1"}])
def test_a_usage_of_something_else_than_counts_is_told_and_never_the_last_word(counts: Any) -> None:
    meter, _ = read(ROLE, FINISH, frame({"choices": [], "usage": counts}), DONE)
    assert (meter.usage, meter.usage_final) == (Usage(service_tier="flex", bad=True), False)


def test_a_usage_that_takes_back_what_was_told_is_wrong_and_the_larger_stays() -> None:
    less = {**COUNTS, "completion_tokens": COUNTS["completion_tokens"] - 1}
    meter, _ = read(text("a"), frame({"choices": [], "usage": COUNTS}), FINISH, frame({"choices": [], "usage": less}))
    assert meter.usage is not None
    assert (meter.usage.output_tokens, meter.usage.bad, meter.usage_final) == (FINAL.output_tokens, True, False)


def test_half_a_usage_is_never_the_last_word() -> None:
    meter, _ = read(FINISH, frame({"choices": [], "usage": {"prompt_tokens": 3}}), DONE)
    assert (meter.usage, meter.usage_final) == (Usage(3, service_tier="flex"), False)


@pytest.mark.parametrize(
    ("frame_", "error"),
    [
        (
            frame({"error": {"message": "m", "type": "server_error", "code": "c"}}),
            ProviderError("server_error", "c", "m"),
        ),
        (frame({"error": {"code": 502, "message": "m"}, "choices": []}), ProviderError("", "502", "m")),
        (frame({"error": "a sentence", "code": 7}), ProviderError("", "7", "a sentence")),
        (b'event: error\ndata: {"message":"m","code":400}\n\n', ProviderError("", "400", "m")),
        (frame({"choices": [{"error": {"code": 502, "message": "m"}}]}), ProviderError("", "502", "m")),
    ],
)
def test_an_error_frame_is_an_error_and_no_content(frame_: bytes, error: ProviderError) -> None:
    meter, out = read(ROLE, frame_)
    assert (meter.error, meter.started, meter.ended, out) == (error, False, False, ROLE + frame_)


@pytest.mark.parametrize("data", [b'{"id":"x","choices":[{"ind', b"[]", b"nonsense", b"{" * 9999])
def test_a_malformed_chunk_is_an_error_and_passes(data: bytes) -> None:
    meter, out = read(ROLE, b"data: " + data + b"\n\n", asked=False)
    assert meter.error is not None
    assert (meter.error.type, out) == ("malformed_event", ROLE + b"data: " + data + b"\n\n")


@pytest.mark.parametrize("asked", [True, False])
def test_a_malformed_chunk_among_good_ones_is_seen(asked: bool) -> None:
    meter, _ = read(ROLE, text("a") + text("b") + text("c")[:-20] + b"\n\n" + text("d"), asked=asked)
    assert meter.error is not None


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_cut_through_a_chunk_is_no_malformed_event_and_its_text_counts(keep_text: bool) -> None:
    partial = text("defgh")[: text("defgh").index(b"fgh")]
    meter, _ = read(ROLE, text("abc"), partial, keep_text=keep_text)
    assert (meter.error, meter.ended, meter.content_bytes) == (None, False, 5)


def test_a_finish_reason_in_the_shape_of_a_delta_is_not_overlooked() -> None:
    two = frame(
        {
            **HEAD,
            "choices": [
                {"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": "stop"},
                {"index": 1, "delta": {"content": "b"}, "logprobs": None, "finish_reason": None},
            ],
            "usage": None,
        }
    )
    meter, _ = read(text("x"), text("y") + two + text("z"), choices=2)
    assert (meter.stop_reason, meter.content_bytes) == ("stop", 5)


def test_a_chunk_larger_than_a_meter_reads_is_an_error_and_still_passes() -> None:
    big = text("x" * (9 << 20))
    for pieces in ([ROLE + big, DONE], [ROLE, big[: 5 << 20], big[5 << 20 :], DONE]):
        meter, out = read(*pieces, asked=False)
        assert out == ROLE + big + DONE
        assert meter.error is not None
        assert meter.error.type == "event_too_large"


SPECIAL = ["", "a", "word ", 'quote"', "back\\", '\\"', "né", "\n", '"},"finish_reason":"stop"', "[DONE]"]
WORDS = st.sampled_from(SPECIAL) | st.text(max_size=6)
MORE = st.sampled_from([{}, {}, {"obfuscation": "a"}, {"obfuscation": "xyz1"}, {"index": 1}, {"style": {}}])
DELTAS = st.builds(lambda words, more: text(words, **more), WORDS, MORE)
ARGUMENTS = st.builds(lambda words: chunk({"tool_calls": [{"index": 0, "function": {"arguments": words}}]}), WORDS)
OTHERS = st.sampled_from(
    [
        AZURE,
        ROLE,
        COMMENT,
        FINISH,
        USAGE,
        DONE,
        b"\n",
        chunk({}, "stop", index=1),
        text("a b").replace(b"a b", b"a\n\nb"),  # which is no JSON
        text("a", usage=COUNTS),
        chunk({"content": None, "reasoning_content": "hm"}),
        frame({"error": {"message": "m"}}),
        frame({"choices": "?", "usage": 3}),
        b"data: {nope\n\n",
        b"event: x\ndata: {}\n\n",
    ]
)
RUNS = st.lists(DELTAS | ARGUMENTS, min_size=1, max_size=5).map(b"".join)
STREAMS = st.lists(RUNS | OTHERS, max_size=10).map(b"".join)
LINE_ENDS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=3) | st.just([b"\n"])


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(
    STREAMS, LINE_ENDS, st.lists(st.integers(0, 10**6), max_size=10), st.integers(0, 30), st.booleans(), st.booleans()
)
def test_any_cut_gives_the_same_facts_and_the_same_bytes(
    stream: bytes, line_ends: list[bytes], places: list[int], missing: int, asked: bool, keep_text: bool
) -> None:
    lines = zip(stream.split(b"\n"), itertools.cycle(line_ends), strict=False)
    stream = b"".join(line + end for line, end in lines)
    stream = stream[: len(stream) - missing] if missing else stream
    whole, out = read(stream, asked=asked, keep_text=keep_text)
    pieces, out_pieces = read(*cut(stream, places), asked=asked, keep_text=keep_text)
    assert out_pieces == out
    assert facts(pieces) == facts(whole)
    single, out_single = read(*(stream[i : i + 1] for i in range(len(stream))), asked=asked, keep_text=keep_text)
    assert (facts(single), out_single) == (facts(whole), out)
    if asked:
        assert stream.startswith(out)


@given(STREAMS, st.booleans())
def test_counting_without_decoding_agrees_with_decoding(stream: bytes, asked: bool) -> None:
    quick, out = read(stream, asked=asked)
    decoded, out_decoded = read(stream, asked=asked, keep_text=True)
    assert out == out_decoded
    a, b = facts(quick), facts(decoded)
    assert a.pop("content_bytes") >= b.pop("content_bytes")
    assert a | {"text": ""} == b | {"text": ""}


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans(), st.booleans(), st.booleans())
def test_text_is_never_undercounted(words: list[str], whole: bool, asked: bool, padded: bool) -> None:
    deltas = [text(w, **({"obfuscation": "x" * (len(w) % 3)} if padded else {})) for w in words]
    frames = [ROLE, *deltas, FINISH, USAGE, DONE]
    meter, out = read(*([b"".join(frames)] if whole else frames), asked=asked)
    raw = sum(len(json.dumps(word, ensure_ascii=False).encode()) - 2 for word in words)
    assert sum(len(word.encode()) for word in words) <= meter.content_bytes <= raw
    assert (meter.usage, meter.usage_final, meter.ended) == (FINAL, True, True)
    assert out == b"".join(f for f in frames if asked or f is not USAGE)


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=5), st.booleans())
def test_no_stream_raises(stream: bytes, places: list[int], asked: bool) -> None:
    meter, out = read(*cut(stream, places), asked=asked)
    assert out == stream or meter.ended
