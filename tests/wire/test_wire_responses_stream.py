"""The meter of Responses streams: every event of the SDK, usage at the end only, any cut, and our own error event."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import OPENAI
from headgate.wire.dialect import Meter, ProviderError

TYPES = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])}
LIFE_CYCLE = {"response.created", "response.in_progress", "response.queued"}
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
COUNTS = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 120,
}
FINAL = Usage(10, 60, 30, output_tokens=20, reasoning_tokens=12, service_tier="flex")


def response(status: str = "in_progress", usage: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-6-luna",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "flex",
        "usage": usage,
        **more,
    }


_number = itertools.count()


def event(kind: str, *, named: bool = True, style: dict[str, Any] | None = None, **fields: Any) -> bytes:
    told = {"type": kind, "sequence_number": next(_number), **fields}
    data = json.dumps(told, **({"separators": (",", ":"), "ensure_ascii": False} if style is None else style))
    return (f"event: {kind}\n" if named else "").encode() + f"data: {data}\n\n".encode()


AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
MESSAGE = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}


def words(text: str, kind: str = "response.output_text.delta", **more: Any) -> bytes:
    return event(kind, **{**AT, "delta": text, "logprobs": [], **more})


CREATED = event("response.created", response=response())
PROGRESS = event("response.in_progress", response=response())
ADDED = event("response.output_item.added", output_index=0, item=MESSAGE)
PART = event("response.content_part.added", **AT, part={"type": "output_text", "text": "", "annotations": []})
DONE_ITEM = event(
    "response.output_item.done",
    output_index=0,
    item={**MESSAGE, "status": "completed", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
)
COMPLETED = event("response.completed", response=response("completed", COUNTS))
INCOMPLETE = event(
    "response.incomplete",
    response=response("incomplete", COUNTS, incomplete_details={"reason": "max_output_tokens"}),
)
FAILED = event(
    "response.failed",
    response=response("failed", COUNTS, error={"code": "server_error", "message": "it failed"}),
)
HEAD = [CREATED, PROGRESS, ADDED, PART]


def read(*pieces: bytes, keep_text: bool = False, finish: bool = True) -> tuple[Meter, bytes]:
    meter = OPENAI.meter("responses", Facts(stream=True), keep_text=keep_text)
    out = b"".join(map(meter.feed, pieces))
    return meter, out + (meter.finish() if finish else b"")


def facts(meter: Meter) -> dict[str, Any]:
    names = "usage usage_final model stop_reason started ended error content_bytes dropped_bytes"
    return {name: getattr(meter, name) for name in names.split()} | {"text": meter.text()}


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_whole_stream_is_metered_and_passes_byte_for_byte(keep_text: bool) -> None:
    frames = [*HEAD, words("Hel"), words("lo, "), words("wörld"), DONE_ITEM, COMPLETED]
    meter, out = read(b"".join(frames), keep_text=keep_text)
    assert out == b"".join(frames)
    assert facts(meter) == {
        "usage": FINAL,
        "usage_final": True,
        "model": "gpt-6-luna",
        "stop_reason": "completed",
        "started": True,
        "ended": True,
        "error": None,
        "content_bytes": 13,
        "dropped_bytes": 0,
        "text": "Hello, wörld" if keep_text else "",
    }


def _sample(kind: str) -> dict[str, Any]:
    """An event of this type with every field that the SDK requires."""
    values: dict[str, Any] = {
        "response": response("in_progress" if kind in LIFE_CYCLE else kind.removeprefix("response.")),
        "item": MESSAGE,
        "part": {"type": "summary_text", "text": ""},
        "delta": "abc",
        "code": "x",
        "logprobs": [],
        "annotation": None,
        "output": [],
    }
    if kind == "response.shell_call_output_content.delta":
        values["delta"] = {"stdout": "abc"}
    if kind.startswith("response.content_part"):
        values["part"] = {"type": "output_text", "text": "", "annotations": []}
    told = {}
    for name, field in TYPES[kind].model_fields.items():
        if name in ("type", "sequence_number"):
            continue
        if not field.is_required():
            continue
        numeric = field.annotation is int
        told[name] = values.get(name, 0 if numeric else "x")
    return told


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_event_of_the_sdk_passes_and_only_life_cycle_ones_are_no_content(kind: str) -> None:
    frame = event(kind, **_sample(kind))
    parsed: Any = TypeAdapter(ResponseStreamEvent).validate_json(frame.partition(b"data: ")[2])
    assert type(parsed) is TYPES[kind]
    meter, out = read(CREATED, frame)
    assert out == CREATED + frame
    assert meter.ended == (kind in TERMINAL)
    assert (meter.error is not None) == (kind in ("error", "response.failed"))
    quiet = LIFE_CYCLE | {
        "error",
        "response.failed",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
    assert meter.started == (kind not in quiet)
    texts = kind.endswith(".delta") and kind != "response.shell_call_output_content.delta"
    assert meter.content_bytes == (3 if texts else 0)


@pytest.mark.parametrize("kind", ["response.newer.delta", "response.newer.thing", "thread.run.created", "x"])
def test_an_event_that_nobody_knows_is_content_and_passes_byte_for_byte(kind: str) -> None:
    frame = b'event: %b\nid: 7\ndata: {"new" : {"nested":[1, 2.50]},\ndata: "type":"%b"}\n\n' % ((kind.encode(),) * 2)
    meter, out = read(CREATED, frame, COMPLETED)
    assert out == CREATED + frame + COMPLETED
    assert (meter.started, meter.error, meter.ended) == (True, None, True)
    assert read(CREATED, frame)[0].started


def test_an_event_without_its_name_is_known_by_its_type() -> None:
    frames = [event("response.created", named=False, response=response()), words("abc", named=False), COMPLETED]
    meter, out = read(*frames)
    assert (meter.model, meter.content_bytes, meter.ended, out) == ("gpt-6-luna", 3, True, b"".join(frames))


@pytest.mark.parametrize("frame", [CREATED, PROGRESS, ADDED, PART, b": comment\n\n", b"event: keepalive\ndata: {}\n\n"])
def test_life_cycle_frames_are_no_content(frame: bytes) -> None:
    meter, out = read(frame)
    assert (meter.started, meter.ended, meter.content_bytes, out) == (False, False, 0, frame)


@pytest.mark.parametrize("style", [None, {}])
@pytest.mark.parametrize(
    ("kind", "at"),
    [
        ("response.output_text.delta", AT),
        ("response.refusal.delta", AT),
        ("response.reasoning_text.delta", AT),
        ("response.reasoning_summary_text.delta", {"item_id": "rs_1", "output_index": 0, "summary_index": 0}),
        ("response.function_call_arguments.delta", {"item_id": "fc_1", "output_index": 0}),
        ("response.custom_tool_call_input.delta", {"item_id": "ct_1", "output_index": 0}),
        ("response.mcp_call_arguments.delta", {"item_id": "mcp_1", "output_index": 0}),
        ("response.code_interpreter_call_code.delta", {"item_id": "ci_1", "output_index": 0}),
        ("response.shell_call_command.delta", {"command_index": 0, "output_index": 0}),
        ("response.audio.transcript.delta", {}),
    ],
)
def test_every_kind_of_generated_text_is_counted(kind: str, at: dict[str, Any], style: Any) -> None:
    for more in ({}, {"obfuscation": "xY1"}):
        one = event(kind, style=style, **at, delta="né", **more)
        size = 3 if style is None else 7  # an escape counts as it is written, where it is not decoded
        for frame in (one, one.replace(b"\n", b"\r\n")):
            assert (read(frame)[0].started, read(frame)[0].content_bytes) == (True, size)
            assert read(frame, frame + frame)[0].content_bytes == 3 * size
        assert read(one, keep_text=True)[0].content_bytes == 3


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" * 40}, 40),
        ({"type": "function_call", "name": "calc", "arguments": "{}", "call_id": "c"}, 6),
        ({"type": "web_search_call", "action": {"type": "search", "query": "q"}}, 29),
        ({**MESSAGE, "content": [{"type": "output_text", "text": "Hello"}]}, 5),
        ({**MESSAGE, "content": [{"type": "refusal", "refusal": "no"}]}, 2),
        ({"type": "newer", "code": "abc"}, 3),
    ],
)
def test_what_a_finished_item_shows_beyond_its_deltas_is_counted_once(item: dict[str, Any], size: int) -> None:
    done = event("response.output_item.done", output_index=0, item=item)
    meter, out = read(CREATED, done)
    assert (meter.content_bytes, meter.started, out) == (size, True, CREATED + done)
    assert read(CREATED, words("a"), done)[0].content_bytes == max(size, 1)
    assert read(CREATED, done, done)[0].content_bytes == 2 * size


@pytest.mark.parametrize(
    ("frame", "reason", "error", "started"),
    [
        (COMPLETED, "completed", None, True),
        (INCOMPLETE, "max_output_tokens", None, True),
        (event("response.incomplete", response=response("incomplete", COUNTS)), "incomplete", None, True),
        (event("response.cancelled", response=response("cancelled", COUNTS)), "cancelled", None, True),
        (FAILED, "failed", ProviderError("", "server_error", "it failed"), False),
        (
            event("response.failed", response=response("failed", COUNTS)),
            "failed",
            ProviderError("server_error", "", "the response failed, and does not say why"),
            False,
        ),
    ],
)
def test_each_terminal_event_ends_the_answer_with_its_usage(
    frame: bytes, reason: str, error: ProviderError | None, started: bool
) -> None:
    meter, out = read(CREATED, frame)
    assert out == CREATED + frame
    assert (meter.ended, meter.stop_reason, meter.error, meter.started) == (True, reason, error, started)
    assert (meter.usage, meter.usage_final) == (FINAL, True)


@pytest.mark.parametrize("usage", [None, {}, []])
def test_a_terminal_event_without_counts_has_none(usage: Any) -> None:
    meter, _ = read(CREATED, words("x"), event("response.completed", response=response("completed", usage)))
    assert (meter.usage, meter.usage_final, meter.error, meter.ended) == (None, False, None, True)


@pytest.mark.parametrize("usage", [{"input_tokens": -1}, {"input_tokens": "1", "output_tokens": "2"}])
def test_a_terminal_event_with_something_else_than_counts_says_so_and_is_not_the_last_word(usage: Any) -> None:
    meter, _ = read(CREATED, words("x"), event("response.completed", response=response("completed", usage)))
    assert meter.usage is not None
    assert (meter.usage.bad, meter.usage.prompt_tokens, meter.usage_final, meter.ended) == (True, 0, False, True)


def test_a_usage_that_takes_back_what_was_told_is_wrong_and_the_larger_stays() -> None:
    begun = event("response.created", response=response("in_progress", COUNTS))
    less = {**COUNTS, "output_tokens": COUNTS["output_tokens"] - 1}
    meter, _ = read(begun, words("x"), event("response.completed", response=response("completed", less)))
    assert meter.usage is not None
    assert (meter.usage.output_tokens, meter.usage.bad, meter.usage_final) == (FINAL.output_tokens, True, False)


def test_half_a_usage_is_never_the_last_word() -> None:
    meter, _ = read(event("response.completed", response=response("completed", {"input_tokens": 3})))
    assert (meter.usage, meter.usage_final) == (Usage(3, service_tier="flex"), False)


def test_searches_are_counted_as_the_response_says_or_else_by_their_calls() -> None:
    calls = [{"type": "web_search_call", "id": "ws_1"}, {"type": "message"}, {"type": "web_search_call", "id": "ws_2"}]
    shown = event("response.completed", response=response("completed", COUNTS, output=calls))
    assert read(shown)[0].usage == Usage(
        10, 60, 30, output_tokens=20, reasoning_tokens=12, service_tier="flex", web_searches=2
    )
    told = response("completed", COUNTS, output=calls, tool_usage={"web_search": {"num_requests": 5}})
    meter, _ = read(event("response.completed", response=told))
    assert meter.usage is not None
    assert meter.usage.web_searches == 5


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (event("error", code="server_error", message="m", param=None), ProviderError("", "server_error", "m")),
        (
            event("error", error={"type": "server_error", "code": "c", "message": "m"}),
            ProviderError("server_error", "c", "m"),
        ),
        (b'event: error\ndata: {"error":"a sentence"}\n\n', ProviderError("", "", "a sentence")),
        (b'data: {"error":{"message":"m","code":502}}\n\n', ProviderError("", "502", "m")),
    ],
)
def test_an_error_event_is_an_error_and_no_content(frame: bytes, error: ProviderError) -> None:
    meter, out = read(CREATED, frame)
    assert (meter.error, meter.started, meter.ended, out) == (error, False, False, CREATED + frame)


@pytest.mark.parametrize(
    "data", [b'{"type":"response.output_text.delta","item_id":"ms', b"[]", b"nonsense", b"{" * 9999]
)
def test_a_malformed_event_is_an_error_and_passes(data: bytes) -> None:
    frame = b"event: response.output_text.delta\ndata: " + data + b"\n\n"
    meter, out = read(CREATED, frame)
    assert meter.error is not None
    assert (meter.error.type, out) == ("malformed_event", CREATED + frame)


@pytest.mark.parametrize("body", ["x", None, [], 3])
def test_a_terminal_event_without_a_response_is_malformed(body: Any) -> None:
    meter, _ = read(CREATED, words("x"), event("response.completed", response=body))
    assert (meter.error is not None, meter.usage_final) == (True, False)


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_cut_through_an_event_is_no_malformed_event_and_its_text_counts(keep_text: bool) -> None:
    partial = words("defgh")[: words("defgh").index(b"fgh")]
    meter, out = read(*HEAD, words("abc"), partial, keep_text=keep_text)
    assert (meter.error, meter.ended, meter.content_bytes) == (None, False, 5)
    assert out.endswith(partial)


def test_what_follows_the_terminal_event_is_dropped_and_counted() -> None:
    late = words("late")
    meter, out = read(CREATED, COMPLETED + late, b"more")
    assert (out, facts(meter)["dropped_bytes"]) == (CREATED + COMPLETED, len(late) + 4)


def test_an_image_in_one_event_passes_whole() -> None:
    frame = event("response.image_generation_call.partial_image", partial_image_b64="A" * (1 << 20), **AT)
    meter, out = read(CREATED, frame[:70_000], frame[70_000:], COMPLETED)
    assert (out, meter.error, meter.usage_final) == (CREATED + frame + COMPLETED, None, True)


def sdk_reads(body: bytes) -> Iterator[Any]:
    """What the real SDK makes of a stream."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    with openai.OpenAI(api_key="not-a-key", http_client=http, max_retries=0) as client:
        yield from client.responses.create(model="gpt-6-luna", input="hi", stream=True)


def test_the_sdk_reads_these_streams_to_their_end() -> None:
    kinds = [event.type for event in sdk_reads(b"".join([*HEAD, words("Hello"), DONE_ITEM, COMPLETED]))]
    assert kinds[0], kinds[-1] == ("response.created", "response.completed")
    assert len(kinds) == 7


@pytest.mark.parametrize("places", [0, 1, 4, 6])
def test_our_error_event_behind_a_cut_stream_raises_in_the_sdk_with_the_next_number(places: int) -> None:
    frames = [*HEAD, words("Hello"), words(" there")][:places]
    meter, out = read(*frames, words("gone")[:-30], finish=False)
    ours = OPENAI.error_event("provider_broken", "The answer broke off.", "ex_1", behind=meter)
    told = json.loads(ours.partition(b"data: ")[2])
    assert ours.startswith(b"event: error\n")
    assert (told["type"], told["code"], told["message"]) == ("error", "provider_broken", "The answer broke off.")
    assert told["headgate"] == {"code": "provider_broken", "exchange": "ex_1"}
    last = json.loads(frames[-1].partition(b"data: ")[2])["sequence_number"] if frames else -1
    assert told["sequence_number"] == last + 1
    reads = sdk_reads(out + ours)
    assert len([next(reads) for _ in range(places)]) == places
    with pytest.raises(openai.APIError, match=r"The answer broke off\.") as raised:
        next(reads)
    assert raised.value.code == "provider_broken"


@pytest.mark.parametrize("missing", [30, 1])
def test_our_error_event_behind_half_an_event_that_was_handed_on_has_the_next_number(missing: int) -> None:
    frame = words("gone")
    meter, out = read(*HEAD, frame[:-missing])
    assert out.endswith(frame[:-missing])
    told = json.loads(OPENAI.error_event("provider_broken", "m", "ex_1", behind=meter).partition(b"data: ")[2])
    assert told["sequence_number"] == json.loads(frame.partition(b"data: ")[2])["sequence_number"] + 1


def test_half_a_number_is_none() -> None:
    first, frame = words("Hello"), words("gone")
    cut = frame.index(b'"sequence_number"') + len(b'"sequence_number": ') + 1
    meter, _ = read(*HEAD, first, frame[:cut])
    told = json.loads(OPENAI.error_event("provider_broken", "m", "ex_1", behind=meter).partition(b"data: ")[2])
    assert told["sequence_number"] == json.loads(first.partition(b"data: ")[2])["sequence_number"] + 1


def test_our_error_event_of_chat_keeps_its_own_form() -> None:
    chat = OPENAI.error_event("provider_broken", "m", "ex_1", behind=OPENAI.meter("chat", Facts()))
    assert chat == OPENAI.error_event("provider_broken", "m", "ex_1")
    assert b"sequence_number" not in chat


SPECIAL = [
    "",
    "a",
    "word ",
    'quote"',
    "back\\",
    '\\"',
    "né",
    "\n",
    '"},"type":"response.completed"',
    "[DONE]",
    "\u2028",
]
WORDS = st.sampled_from(SPECIAL) | st.text(max_size=6)
KINDS = st.sampled_from([k for k in TYPES if k.endswith(".delta")] + ["response.newer.delta"])
MORE = st.sampled_from([{}, {}, {"obfuscation": "a"}, {"style": {}}, {"content_index": 1}])
DELTAS = st.builds(lambda text, kind, more: words(text, kind, **more), WORDS, KINDS, MORE)
TEXT = "response.output_text.delta"
NUMBERED_BEHIND = WORDS.map(
    lambda text: words(text).replace(b'"sequence_number":', b'"n":')[:-3] + b',"sequence_number":7}\n\n'
)
NOT_NUMBERED = WORDS.map(lambda text: f"event: {TEXT}\ndata: {json.dumps({'type': TEXT, 'delta': text})}\n\n".encode())
OTHERS = st.sampled_from(
    [
        *HEAD,
        DONE_ITEM,
        COMPLETED,
        INCOMPLETE,
        FAILED,
        b"\n",
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b"data: {nope\n\n",
        b"event: x\ndata: {}\n\n",
        b"event: response.output_text.delta\ndata: {}\n\n",
        b"event: response.completed\ndata: {nope\n\n",
        event("error", code=None, message="m", param=None),
        event("response.output_item.done", output_index=0, item={"type": "reasoning", "encrypted_content": "xyz"}),
        event("response.output_item.added", output_index=0, item=None),
        event("response.created", response=None),
        words("a b").replace(b"a b", b"a\n\nb"),  # which is no JSON
        words("ab").replace(b'"sequence_number":', b'"sequence_number":null,"n":'),
    ]
)
RUNS = (
    st.lists(DELTAS, min_size=1, max_size=4)
    | st.lists(NUMBERED_BEHIND, max_size=4)
    | st.lists(NOT_NUMBERED, max_size=4)
)
STREAMS = st.lists(RUNS.map(b"".join) | OTHERS, max_size=9).map(b"".join)
LINE_ENDS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=3) | st.just([b"\n"])


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(STREAMS, LINE_ENDS, st.lists(st.integers(0, 10**6), max_size=10), st.integers(0, 30), st.booleans())
@settings(deadline=None)
def test_any_cut_gives_the_same_facts_and_the_same_bytes(
    stream: bytes, line_ends: list[bytes], places: list[int], missing: int, keep_text: bool
) -> None:
    lines = zip(stream.split(b"\n"), itertools.cycle(line_ends), strict=False)
    stream = b"".join(line + end for line, end in lines)
    stream = stream[: len(stream) - missing] if missing else stream
    whole, out = read(stream, keep_text=keep_text)
    for pieces in (cut(stream, places), [stream[i : i + 1] for i in range(len(stream))]):
        meter, out_pieces = read(*pieces, keep_text=keep_text)
        assert out_pieces == out
        assert facts(meter) == facts(whole)
        ours = [OPENAI.error_event("provider_broken", "m", "ex_1", behind=each) for each in (meter, whole)]
        assert ours[0] == ours[1]
    assert stream.startswith(out)


@given(STREAMS)
@settings(deadline=None)
def test_counting_without_decoding_agrees_with_decoding(stream: bytes) -> None:
    quick, out = read(stream)
    decoded, out_decoded = read(stream, keep_text=True)
    assert out == out_decoded
    a, b = facts(quick), facts(decoded)
    assert a.pop("content_bytes") >= b.pop("content_bytes")
    assert a | {"text": ""} == b | {"text": ""}


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans(), st.booleans())
def test_text_is_never_undercounted(texts: list[str], whole: bool, padded: bool) -> None:
    deltas = [words(text, **({"obfuscation": "x" * (len(text) % 3)} if padded else {})) for text in texts]
    frames = [*HEAD, *deltas, COMPLETED]
    meter, out = read(*([b"".join(frames)] if whole else frames))
    raw = sum(len(json.dumps(text, ensure_ascii=False).encode()) - 2 for text in texts)
    assert sum(len(text.encode()) for text in texts) <= meter.content_bytes <= raw
    assert (meter.usage, meter.usage_final, meter.ended, out) == (FINAL, True, True, b"".join(frames))


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=5), st.booleans())
def test_no_stream_raises(stream: bytes, places: list[int], keep_text: bool) -> None:
    meter, out = read(*cut(stream, places), keep_text=keep_text)
    assert out == stream or meter.ended
