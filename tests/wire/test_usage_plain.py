"""Usage that is read in one go where it is ordinary: what it says is what the careful way says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.wire import ANTHROPIC, anthropic_usage, openai_usage

Fields = dict[str, Any]


def some(fields: dict[str, st.SearchStrategy[Any]], *required: str) -> st.SearchStrategy[Fields]:
    optional = {name: values for name, values in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


TOLD = st.integers(0, 60)
COUNT = TOLD | TOLD | TOLD | st.sampled_from([None, 0, 12.0])
ODD = COUNT | st.sampled_from([-1, 2.5, "3", True, 1 << 60])
TOTALS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def of_messages(counts: st.SearchStrategy[Any], *required: str) -> st.SearchStrategy[Fields]:
    fields = {
        **dict.fromkeys(TOTALS, counts),
        "cache_creation": st.none() | some(dict.fromkeys(anthropic_usage._SPLIT, counts)),
        "output_tokens_details": st.none() | some({"thinking_tokens": counts}),
        "server_tool_use": st.none() | some({"web_search_requests": counts, "web_fetch_requests": counts}),
        "iterations": st.sampled_from([None, []]),
        "service_tier": st.sampled_from([None, "standard", "batch"]),
        "speed": st.sampled_from([None, "fast", ""]),
        "inference_geo": st.sampled_from([None, "us"]),
    }
    return some(fields, *required)


STARTS = of_messages(COUNT, "input_tokens", "output_tokens") | of_messages(ODD)
LATER = some(dict.fromkeys(TOTALS, TOLD), "output_tokens") | of_messages(COUNT, "output_tokens") | of_messages(ODD)


def converted(fields: Fields, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        return None


@settings(deadline=None)
@given(STARTS)
def test_a_plain_usage_of_messages_is_what_the_careful_way_says(fields: Fields) -> None:
    plain = converted(fields, anthropic_usage.Plain)
    if plain is not None:
        assert anthropic_usage.plain(plain) == anthropic_usage.usage(fields)
        assert anthropic_usage.complete(fields)


@settings(deadline=None)
@given(STARTS, LATER)
@example(
    {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
    {"output_tokens": 2, "cache_creation_input_tokens": 0},
)
@example(
    {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
    {"output_tokens": 2, "cache_creation_input_tokens": 9},
)
def test_a_plain_usage_grows_as_the_careful_way_merges(start: Fields, later: Fields) -> None:
    plain, more = converted(start, anthropic_usage.Plain), converted(later, anthropic_usage.PlainLater)
    if plain is None or more is None:
        return
    before = msgspec.to_builtins(plain)
    if anthropic_usage.grow(plain, more):
        assert not anthropic_usage.malformed(later)
        assert not anthropic_usage.falls(start, later)
        assert anthropic_usage.plain(plain) == anthropic_usage.usage(anthropic_usage.merge(start, later))
    else:
        assert msgspec.to_builtins(plain) == before


@settings(deadline=None)
@given(st.lists(STARTS, max_size=2), st.lists(LATER, max_size=3))
def test_a_stream_reports_the_same_whether_its_start_is_plain_or_read_with_care(
    starts: list[Fields], later: list[Fields]
) -> None:
    told = []
    for careful in ({}, {"iterations": {}}):  # which is no list, so that it counts for nothing
        events: list[tuple[str, Fields]] = [
            ("message_start", {"message": {"model": "m", "usage": {**usage, **careful}}}) for usage in starts
        ]
        events += [("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": usage}) for usage in later]
        meter = ANTHROPIC.meter("messages", Facts())
        for name, fields in [*events, ("message_stop", {})]:
            meter.feed(f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode())
        told.append((meter.usage, meter.usage_final, meter.stop_reason, meter.model, meter.started, meter.ended))
    assert told[0] == told[1]


def of_chat(counts: st.SearchStrategy[Any], *required: str) -> st.SearchStrategy[Fields]:
    details = some(
        {
            **dict.fromkeys(openai_usage._DETAILS, counts | st.just(0)),
            "cached_tokens_details": st.none() | some({"audio_tokens": counts}),
            "cache_write_tokens_details": some({"ttl_12h_tokens": counts}),
        }
    )
    fields = {
        **dict.fromkeys((*openai_usage._COUNTS, "total_tokens"), counts),
        "prompt_tokens_details": st.none() | details,
        "completion_tokens_details": st.none() | details,
        "service_tier": st.sampled_from([None, "flex", 3]),
    }
    return some(fields, *required)


@settings(deadline=None)
@given(
    of_chat(COUNT, "prompt_tokens", "completion_tokens") | of_chat(ODD),
    st.sampled_from([None, "", "default", 3]),
    st.integers(0, 2),
)
@example(
    {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 22,
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
    None,
    0,
)
@example({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}}, "flex", 1)
def test_a_plain_usage_of_openai_is_what_the_careful_way_says(fields: Fields, service_tier: Any, searches: int) -> None:
    plain = openai_usage._ordinary(fields, service_tier, searches)
    if plain is not None:
        assert plain == openai_usage._careful(fields, service_tier, searches)
        assert openai_usage.complete(fields)
