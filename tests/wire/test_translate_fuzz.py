"""Translation of arbitrary requests: a `BadRequest` or a body that the other dialect reads; and there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.testing.simulator import anthropic_requests, openai_requests
from headgate.testing.simulator.promptcache import PromptCache
from headgate.wire import DIALECTS
from headgate.wire.translate import LossPolicy, translate_request

PAIRS = [("anthropic", "openai"), ("openai", "anthropic")]
MODELS = {"anthropic": "claude-sonnet-5", "openai": "gpt-6-luna"}
ENDPOINTS = {"anthropic": "messages", "openai": "chat"}
DROP = LossPolicy("drop")

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
)
WORDS = [
    "type",
    "text",
    "content",
    "role",
    "name",
    "id",
    "input",
    "tools",
    "function",
    "arguments",
    "tool_calls",
    "image_url",
    "url",
    "source",
    "data",
    "media_type",
    "document",
    "image",
    "file",
    "tool_use",
    "tool_result",
    "tool_use_id",
    "tool_call_id",
    "thinking",
    "cache_control",
    "system",
    "user",
    "assistant",
    "developer",
    "tool",
    "auto",
    "any",
    "none",
    "required",
    "json_schema",
    "schema",
    "format",
    "effort",
    "high",
    "base64",
    "object",
    "properties",
    "function",
    "input_schema",
    "parameters",
    "title",
    "is_error",
    "refusal",
    "choices",
    "allowed_tools",
    "mode",
]
words = st.sampled_from(WORDS)
likely = st.recursive(
    st.one_of(scalars, words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)
FIELDS = [
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "stream",
    "metadata",
    "temperature",
    "thinking",
    "output_config",
    "top_k",
    "n",
    "max_completion_tokens",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "safety_identifier",
    "user",
    "stop",
    "logprobs",
]


@st.composite
def requests(draw: Any) -> bytes:
    blocks = st.fixed_dictionaries({"type": words}, optional=dict.fromkeys(WORDS[1:20], likely))
    messages = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"])},
        optional={
            "content": st.one_of(st.text(max_size=5), st.lists(blocks, max_size=3)),
            "tool_calls": likely,
            "tool_call_id": words,
        },
    )
    body: dict[str, Any] = {"model": "m", "messages": draw(st.lists(messages, min_size=1, max_size=4)), "max_tokens": 5}
    body |= draw(st.dictionaries(st.sampled_from(FIELDS), likely, max_size=3))
    return json.dumps(body).encode()


def translated(source: str, target: str, body: bytes, policy: LossPolicy = DROP) -> bytes | None:
    try:
        told = translate_request(
            source, target, body, model=MODELS[target], max_output_tokens_default=1000, policy=policy
        )
    except BadRequest:
        return None
    return told.body


# There and back again: what both dialects can say is kept.

names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
said = st.text(min_size=1, max_size=8).filter(lambda told: bool(told.strip()))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), said
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(said, inner, max_size=2)),
    max_leaves=4,
)
inputs = st.dictionaries(said, values, max_size=3)
pictures = st.one_of(
    st.just({"type": "base64", "media_type": "image/png", "data": "aGk="}),
    st.just({"type": "url", "url": "https://example.test/a.png"}),
).map(lambda source: {"type": "image", "source": source})
texts = said.map(lambda told: {"type": "text", "text": told})


@st.composite
def conversations(draw: Any) -> dict[str, Any]:
    turns: list[Any] = [{"role": "user", "content": draw(st.lists(st.one_of(texts, pictures), min_size=1, max_size=3))}]
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        answer, results = draw(st.lists(texts, max_size=1)), []
        for _ in range(draw(st.integers(0 if answer else 1, 2))):
            number += 1
            called = f"toolu_{number}"
            answer.append({"type": "tool_use", "id": called, "name": draw(names), "input": draw(inputs)})
            results.append({"type": "tool_result", "tool_use_id": called, "content": draw(said)})
        after = draw(st.lists(st.one_of(texts, pictures), min_size=0 if results else 1, max_size=2))
        turns += [{"role": "assistant", "content": answer}, {"role": "user", "content": results + after}]
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tools = [{"name": name, "input_schema": schema} for name in draw(st.lists(names, max_size=2, unique=True))]
    body: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": draw(st.integers(1, 9000)), "messages": turns}
    if tools:
        body["tools"] = tools
        choice = draw(
            st.sampled_from([None, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": tools[0]["name"]}])
        )
        if choice is not None:
            body["tool_choice"] = choice
    optional = {
        "system": said,
        "stop_sequences": st.lists(said, min_size=1, max_size=4),
        "metadata": said.map(lambda user: {"user_id": user}),
        "output_config": st.just({"format": {"type": "json_schema", "schema": schema}}),
        "stream": st.just(True),
    }
    return body | draw(st.fixed_dictionaries({}, optional=optional))


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """With every content as blocks, as Anthropic reads a string."""
    turns = [
        {
            **turn,
            "content": [{"type": "text", "text": turn["content"]}]
            if isinstance(turn["content"], str)
            else turn["content"],
        }
        for turn in body["messages"]
    ]
    return {**body, "messages": turns}


@given(conversations())
def test_what_both_dialects_can_say_is_the_same_there_and_back(body: dict[str, Any]) -> None:
    there = translate_request(
        "anthropic", "openai", json.dumps(body).encode(), model="gpt-4o", policy=LossPolicy("refuse")
    )
    assert there.report == ()
    back = translate_request("openai", "anthropic", there.body, model="claude-sonnet-5", policy=LossPolicy("refuse"))
    assert back.report == ()
    assert plain(json.loads(back.body)) == plain(body)


@given(conversations())
def test_the_simulator_of_the_other_provider_takes_what_was_translated(body: dict[str, Any]) -> None:
    there = translate_request("anthropic", "openai", json.dumps(body).encode(), model="gpt-6-luna", policy=DROP)
    asked = openai_requests.read(json.loads(there.body), scope="s", cache=PromptCache(), now=0.0)
    assert asked.cap == body["max_tokens"]
    assert [tool.name for tool in asked.tools] == [tool["name"] for tool in body.get("tools", [])]
    back = translate_request("openai", "anthropic", there.body, model="claude-opus-5-5", policy=DROP)
    headers = {b"anthropic-version": b"2026-10-21"}
    again = anthropic_requests.read(headers, json.loads(back.body), scope="s", cache=PromptCache(), seed=0, now=0.0)
    assert (again.cap, again.user, list(again.stops)) == (asked.cap, asked.user, list(asked.stops))


# Fuzz: from nothing, and from what is right with a place or two of it gone wrong.


def refused_or_read(source: str, target: str, body: bytes) -> None:
    told = translated(source, target, body)
    if told is not None:
        facts = DIALECTS[target].read_request(ENDPOINTS[target], told)
        assert facts.model == MODELS[target]
        assert facts.max_output_tokens
        json.loads(told, parse_constant=pytest.fail)
    translated(source, target, body, LossPolicy())
    translated(source, source, body)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(body=st.one_of(requests(), anything.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)))
def test_an_arbitrary_request_is_refused_or_becomes_one_that_the_other_dialect_reads(
    source: str, target: str, body: bytes
) -> None:
    refused_or_read(source, target, body)


@st.composite
def spoilt(draw: Any, source: str) -> bytes:
    body: Any = json.loads(json.dumps(draw(conversations())))  # what is drawn is shared
    if source == "openai":
        body = json.loads(translate_request("anthropic", "openai", json.dumps(body).encode(), model="gpt-4o").body)
    for _ in range(draw(st.integers(1, 2))):
        at: Any = body
        while True:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 4)):
                at = at[key]
                continue
            at[key] = draw(st.one_of(likely, words, st.just([at[key], at[key]])))
            break
    return json.dumps({**body, "model": "m"}).encode()


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_request_with_a_place_gone_wrong_is_refused_or_read(source: str, target: str, data: Any) -> None:
    refused_or_read(source, target, data.draw(spoilt(source)))
