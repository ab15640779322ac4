"""Streams between the dialects: frame for frame, at any cut of the bytes, with tools in any order, and cut off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.translate import AnswerStream

DONE = b"data: [DONE]\n\n"


def a_frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(**usage: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return a_frame("message_start", message={**message, "usage": {"input_tokens": 9, "output_tokens": 1, **usage}})


def opened(index: int, **block: Any) -> bytes:
    return a_frame("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return a_frame("content_block_delta", index=index, delta={"type": kind, **fields})


def closed(index: int) -> bytes:
    return a_frame("content_block_stop", index=index)


def ending(reason: str, output: int = 5, **more: Any) -> bytes:
    return a_frame(
        "message_delta",
        delta={"stop_reason": reason, "stop_sequence": None, **more},
        usage={"output_tokens": output},
    ) + a_frame("message_stop")


def chunk(more: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
    choice = {"index": 0, "delta": more, "finish_reason": finish}
    return f"data: {json.dumps({**head, 'choices': [choice], **fields})}\n\n".encode()


def call(index: int, arguments: str, called: str | None = None, name: str | None = None) -> bytes:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, "function": function, **({"id": called} if called else {})}]})


COUNTS = {"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
USAGE = f"data: {json.dumps({'id': 'chatcmpl-1', 'choices': [], 'usage': COUNTS})}\n\n".encode()
ROLE = chunk({"role": "assistant", "content": ""})

A_STREAM = b"".join(
    [
        start(cache_read_input_tokens=3),
        opened(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="s"),
        closed(0),
        a_frame("ping"),
        opened(1, type="text", text=""),
        delta(1, "text_delta", text="Grü"),
        delta(1, "text_delta", text='ße "😀"\n'),
        closed(1),
        opened(2, type="tool_use", id="toolu_1", name="look", input={}),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"q":'),
        delta(2, "input_json_delta", partial_json='"ä"}'),
        closed(2),
        opened(3, type="tool_use", id="toolu_2", name="now", input={}),
        closed(3),
        ending("tool_use", 7),
    ]
)
O_STREAM = b"".join(
    [
        ROLE,
        b": OPENROUTER PROCESSING\n\n",
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Grü"}),
        chunk({"content": 'ße "😀"\n'}),
        call(0, "", "call_1", "look"),
        call(0, '{"q":'),
        call(0, '"ä"}'),
        call(1, "{}", "call_2", "now"),
        chunk({}, "tool_calls"),
        USAGE,
        DONE,
    ]
)


def run(source: str, *pieces: bytes, finish: bool = True, **more: Any) -> tuple[bytes, AnswerStream]:
    stream = AnswerStream(source, "openai" if source == "anthropic" else "anthropic", **more)
    out = b"".join(map(stream.feed, pieces))
    return out + (stream.finish() if finish else b""), stream


def events(out: bytes) -> list[Any]:
    """The events' data, pings and comments left out."""
    found = []
    for frame in out.split(b"\n\n")[:-1]:
        lines = frame.split(b"\n")
        data = lines[-1].removeprefix(b"data: ")
        if lines[0].startswith(b":") or lines[0] == b"event: ping":
            continue
        event = data.decode() if data == b"[DONE]" else json.loads(data)
        if lines[0].startswith(b"event: "):
            assert lines[0] == b"event: " + event["type"].encode()  # the SDK skips frames without a name
        found.append(event)
    return found


def deltas(out: bytes) -> list[Any]:
    """Chunks' deltas and finish reasons."""
    choices = [c for event in events(out) if event != "[DONE]" for c in event.get("choices", [])]
    return [choice["finish_reason"] or choice["delta"] for choice in choices]


def blocks(out: bytes) -> list[tuple[str, str]]:
    """(what, text) of each block of a Messages stream, checked to be open one at a time and in order."""
    found: list[tuple[str, str]] = []
    is_open = False
    for event in events(out):
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(found)
            found.append((event["content_block"].get("id", "text"), ""))
            is_open = True
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event["index"] == len(found) - 1
            words = event["delta"].get("text", event["delta"].get("partial_json"))
            found[-1] = (found[-1][0], found[-1][1] + words)
        elif event["type"] == "content_block_stop":
            assert event["index"] == len(found) - 1
            is_open = False
    assert not is_open
    return found


def test_a_stream_of_anthropics_becomes_chunks() -> None:
    out, stream = run("openai", A_STREAM, include_usage=True, created=77)
    told = events(out)
    look = {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    now = {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": ""}}
    assert deltas(out) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Grü"},
        {"content": 'ße "😀"\n'},
        {"tool_calls": [look]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"ä"}'}}]},
        {"tool_calls": [now]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        "tool_calls",
    ]
    assert told[-1] == "[DONE]"
    assert told[-2]["choices"] == []
    assert told[-2]["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 7,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert all((c["id"], c["created"], c["model"]) == ("chatcmpl-1", 77, "claude") for c in told[:-1])
    assert all(c["usage"] is None for c in told[:-2])
    assert (stream.ended, stream.error, stream.report) == (True, None, ("thinking",))


def test_the_usage_chunk_comes_only_where_it_was_asked_for() -> None:
    told = events(run("openai", A_STREAM)[0])
    assert all("usage" not in chunk for chunk in told[:-1])


def test_a_stream_of_openais_becomes_events() -> None:
    out, stream = run("anthropic", O_STREAM)
    told = events(out)
    assert told[0]["message"] == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    assert blocks(out) == [("text", 'Grüße "😀"\n'), ("call_1", '{"q":"ä"}'), ("call_2", "{}")]
    assert told[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 5,
        },
    }
    assert told[-1] == {"type": "message_stop"}
    assert b"DONE" not in out
    assert (stream.ended, stream.error, stream.report) == (True, None, ("thinking",))


@pytest.mark.parametrize(("source", "whole"), [("openai", A_STREAM), ("anthropic", O_STREAM)])
def test_every_cut_gives_the_same_frames(source: str, whole: bytes) -> None:
    expected, _ = run(source, whole)
    assert run(source, *(whole[i : i + 1] for i in range(len(whole))))[0] == expected
    for at in range(0, len(whole), 5):
        assert run(source, whole[:at], whole[at : at + 2], whole[at + 2 :])[0] == expected
    crlf = whole.replace(b"\n", b"\r\n")
    assert run(source, crlf)[0].replace(b"\r\n", b"\n") == expected


@pytest.mark.parametrize(("source", "whole"), [("openai", A_STREAM), ("anthropic", O_STREAM)])
def test_content_is_passed_on_with_the_frame_that_brings_it(source: str, whole: bytes) -> None:
    stream = AnswerStream(source, "openai" if source == "anthropic" else "anthropic")
    waited = []
    for frame in whole.split(b"\n\n")[:-1]:
        out = stream.feed(frame + b"\n\n")
        for came, told in ((b"Gr\\u00fc", "Grü".encode()), (b"\\u00df", "ße".encode()), (b'\\"q\\":', b'\\"q\\":')):
            if came in frame and told not in out:
                waited.append((came, out))
    assert waited == []


# How much of each stream is no ending yet: up to the event that says why it ended.
UNENDED = [
    ("openai", A_STREAM[: A_STREAM.index(b"event: message_stop")]),
    ("anthropic", O_STREAM[: O_STREAM.rindex(b"data: ", 0, O_STREAM.index(b'"finish_reason": "tool_calls"'))]),
]


@pytest.mark.parametrize(("source", "whole"), UNENDED)
def test_a_stream_that_is_cut_gets_no_ending_and_no_fault_of_ours(source: str, whole: bytes) -> None:
    for at in range(0, len(whole), 7):
        out, stream = run(source, whole[:at])
        assert not stream.ended
        assert stream.error is None
        assert b"message_stop" not in out
        assert DONE not in out


def test_the_meters_read_the_same_from_a_translated_stream() -> None:
    out, _ = run("openai", A_STREAM, include_usage=True)
    meter = OPENAI.meter("chat", Facts(include_usage=True, stream=True), keep_text=True)
    meter.feed(out)
    meter.finish()
    assert (meter.text(), meter.stop_reason, meter.ended, meter.usage_final) == (
        'Grüße "😀"\n',
        "tool_calls",
        True,
        True,
    )
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.cache_read_tokens, meter.usage.output_tokens) == (9, 3, 7)
    out, _ = run("anthropic", O_STREAM)
    meter = ANTHROPIC.meter("messages", Facts(stream=True), keep_text=True)
    meter.feed(out)
    meter.finish()
    assert (meter.text(), meter.stop_reason, meter.ended, meter.usage_final) == ('Grüße "😀"\n', "tool_use", True, True)
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.cache_read_tokens, meter.usage.output_tokens) == (9, 3, 5)


# Endings


@pytest.mark.parametrize(("reason", "finish"), [("end_turn", "stop"), ("max_tokens", "length"), ("tired", "stop")])
def test_a_stop_reason_becomes_the_last_chunks(reason: str, finish: str) -> None:
    assert deltas(run("openai", start(), ending(reason))[0])[-1] == finish


def test_a_refusal_in_a_stream_says_why() -> None:
    details = {"type": "refusal", "category": None, "explanation": "Not this."}
    assert deltas(run("openai", start(), ending("refusal", stop_details=details))[0])[1:] == [
        {"refusal": "Not this."},
        "content_filter",
    ]
    out, _ = run("anthropic", ROLE, chunk({"refusal": "I will "}), chunk({"refusal": "not."}), chunk({}, "stop"), DONE)
    assert blocks(out) == [("text", "I will not.")]
    assert events(out)[-2]["delta"]["stop_reason"] == "refusal"
    assert events(out)[-2]["delta"]["stop_details"]["type"] == "refusal"


def test_a_paused_turn_ends_the_stream_with_an_error() -> None:
    out, stream = run("openai", start(), ending("pause_turn"), a_frame("message_start"))
    assert "pause_turn" in events(out)[-1]["error"]["message"]
    assert DONE not in out
    assert stream.ended
    assert stream.error is not None
    assert stream.error.type == "not_translatable"


def test_a_provider_that_sends_no_done_ends_with_its_connection() -> None:
    out, stream = run("anthropic", ROLE, chunk({"content": "x"}), chunk({}, "stop", usage=COUNTS), finish=False)
    assert b"message_stop" not in out
    assert b"content_block_stop" in out
    assert events(stream.finish())[-2]["usage"]["output_tokens"] == 5
    assert stream.ended


def test_usage_in_every_chunk_counts_once_and_the_last_counts() -> None:
    pieces = [chunk({"content": "x"}, usage={"prompt_tokens": 4, "completion_tokens": i}) for i in range(3)]
    out, _ = run("anthropic", *pieces, chunk({}, "length"), DONE)
    assert events(out)[-2]["usage"]["output_tokens"] == 2
    assert events(out)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_stream_of_nothing_but_done_is_an_empty_message() -> None:
    out, stream = run("anthropic", DONE)
    assert [event["type"] for event in events(out)] == ["message_start", "message_delta", "message_stop"]
    assert stream.report == ("stop_reason", "usage")


def test_what_follows_the_terminal_event_is_dropped() -> None:
    assert run("anthropic", O_STREAM, O_STREAM)[0] == run("anthropic", O_STREAM)[0]
    assert run("openai", A_STREAM, A_STREAM)[0] == run("openai", A_STREAM)[0]


def test_other_choices_are_left_out_and_reported() -> None:
    other = chunk({"content": "no"}).replace(b'"index": 0', b'"index": 1')
    out, stream = run("anthropic", ROLE, chunk({"content": "yes"}), other, chunk({}, "stop"), DONE)
    assert blocks(out) == [("text", "yes")]
    assert "n" in stream.report


# Errors


def test_an_error_event_becomes_the_callers_error() -> None:
    error = {"type": "overloaded_error", "message": "busy"}
    out, stream = run("openai", start(), a_frame("error", error=error), ending("end_turn"))
    assert events(out)[-1]["error"]["code"] == "server_is_overloaded"
    assert stream.ended
    assert stream.error is not None
    assert stream.error.type == "overloaded_error"
    out, stream = run("anthropic", ROLE, b'data: {"error": {"message": "m", "type": "server_error"}}\n\n', DONE)
    assert events(out)[-1] == {"type": "error", "error": {"type": "api_error", "message": "m"}, "request_id": None}
    assert b"message_stop" not in out
    choice = {"index": 0, "delta": {}, "error": {"code": 502, "message": "m"}}
    out, stream = run("anthropic", ROLE, f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
    assert events(out)[-1]["type"] == "error"


@pytest.mark.parametrize("source", ["anthropic", "openai"])
def test_an_event_that_cannot_be_read_is_an_error(source: str) -> None:
    bad = b'event: content_block_delta\ndata: {"ty\n\n'
    out, stream = run(source, bad, A_STREAM)
    assert stream.error is not None
    assert stream.error.type == "malformed_event"
    assert "error" in events(out)[-1]
    big = b"data: " + b"x" * (9 << 20)
    out, stream = run(source, big[: 5 << 20], big[5 << 20 :])
    assert stream.error is not None
    assert stream.error.type == "event_too_large"


def test_a_lone_surrogate_is_passed_on_as_the_escape_it_came_as() -> None:
    out, _ = run("anthropic", ROLE, chunk({"content": "\ud800"}), chunk({}, "stop"), DONE)
    assert b'"text":"\\ud800"' in out
    out, _ = run("openai", start(), opened(0, type="text", text=""), delta(0, "text_delta", text="\ud800"))
    assert b'"content":"\\ud800"' in out


# Tool calls of OpenAI's that do not come one after the other


def test_interleaved_calls_become_one_block_after_the_other() -> None:
    pieces = [
        call(0, "", "call_a", "look"),
        call(1, "", "call_b", "now"),
        call(0, '{"a"'),
        call(1, '{"b":'),
        chunk({"content": "between"}),
        call(0, ":1}"),
        call(1, "2}"),
        chunk({}, "tool_calls"),
        DONE,
    ]
    out, _ = run("anthropic", ROLE, *pieces)
    assert blocks(out) == [("call_a", '{"a":1}'), ("call_b", '{"b":2}'), ("text", "between")]


def test_calls_that_all_have_the_index_zero_are_told_apart_by_their_ids() -> None:
    pieces = [call(0, '{"a":1}', "call_a", "look"), call(0, '{"b":2}', "call_b", "look")]
    out, _ = run("anthropic", ROLE, *pieces, chunk({}, "tool_calls"), DONE)
    assert blocks(out) == [("call_a", '{"a":1}'), ("call_b", '{"b":2}')]


def test_a_brace_inside_a_string_ends_no_call() -> None:
    pieces = [
        call(0, '{"a":"}\\', "call_a", "look"),
        call(1, "{}", "call_b", "look"),
        call(0, '"}"'),
        call(0, "}"),
    ]
    out, _ = run("anthropic", ROLE, *pieces, chunk({}, "stop"), DONE)
    assert blocks(out) == [("call_a", '{"a":"}\\"}"}'), ("call_b", "{}")]
    assert events(out)[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_call_waits_for_its_name_and_gets_an_id_where_it_has_none() -> None:
    out, _ = run("anthropic", ROLE, call(0, '{"a"'), call(0, ":1}", None, "look"), chunk({}, "tool_calls"), DONE)
    assert blocks(out) == [("call_1_0", '{"a":1}')]


def test_what_comes_for_a_call_that_has_been_closed_is_reported() -> None:
    pieces = [call(0, "{}", "a", "look"), call(1, "{}", "b", "look"), call(0, " "), call(0, "{more}")]
    out, stream = run("anthropic", ROLE, *pieces, chunk({}, "tool_calls"), DONE)
    assert blocks(out) == [("a", "{}"), ("b", "{}")]
    assert "tool_arguments" in stream.report


def test_the_old_function_call_is_a_tool_call() -> None:
    pieces = [
        chunk({"function_call": {"name": "look", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
    ]
    out, _ = run("anthropic", ROLE, *pieces, chunk({}, "function_call"), DONE)
    assert blocks(out) == [("call_1_0", '{"a":1}')]
    assert events(out)[-2]["delta"]["stop_reason"] == "tool_use"


def test_what_waits_is_bounded() -> None:
    piece = call(1, "x" * 100_000)
    out, stream = run("anthropic", ROLE, call(0, "{", "a", "look"), call(1, "", "b", "look"), *[piece] * 100)
    assert stream.error is not None
    assert stream.error.type == "event_too_large"
    assert events(out)[-1]["type"] == "error"


fragments = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(min_size=1, max_size=5)),
        st.tuples(st.integers(0, 3), st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)),
    ),
    max_size=8,
)


@given(fragments, st.randoms(use_true_random=False))
def test_any_interleaving_keeps_every_call_and_every_word(parts: list[Any], random: Any) -> None:
    queues: dict[Any, list[bytes]] = {}
    expected: dict[str, str] = {}
    said = ""
    for where, what in parts:
        if where == "text":
            queues.setdefault("text", []).append(chunk({"content": what}))
            said += what
        elif str(where) not in expected:
            arguments = json.dumps(what)
            expected[str(where)] = arguments
            pieces = [call(where, "", str(where), "look")]
            queues[where] = pieces + [call(where, arguments[i : i + 3]) for i in range(0, len(arguments), 3)]
    mixed = []
    while queues:
        chosen = random.choice(sorted(queues, key=str))
        mixed.append(queues[chosen].pop(0))
        if not queues[chosen]:
            del queues[chosen]
    out, stream = run("anthropic", ROLE, *mixed, chunk({}, "stop"), USAGE, DONE)
    found = blocks(out)
    assert "".join(words for what, words in found if what == "text") == said
    assert {what: words for what, words in found if what != "text"} == expected
    assert stream.report == ()


@pytest.mark.parametrize("source", ["anthropic", "openai"])
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(A_STREAM.split(b"\n\n") + O_STREAM.split(b"\n\n")))))
def test_arbitrary_bytes_raise_nothing(source: str, pieces: list[bytes]) -> None:
    whole = b"\n\n".join(pieces)
    expected, stream = run(source, whole)
    assert run(source, *(whole[i : i + 3] for i in range(0, len(whole), 3)))[0] == expected
    assert stream.ended or stream.error is None
