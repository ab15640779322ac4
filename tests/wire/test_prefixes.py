"""The beginnings of prompts, and marks that are spliced into their bodies."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.prefixes import keyed, leading, marked, prefixes

TOOL = {"name": "look", "description": "x", "input_schema": {"type": "object"}}


def body(**more: Any) -> dict[str, Any]:
    return {
        "model": "claude-opus-5",
        "max_tokens": 9,
        "tools": [TOOL, {**TOOL, "name": "two"}],
        "system": "You are kind.",
        "messages": [{"role": "user", "content": "hi"}],
        **more,
    }


def unmarked(value: Any) -> Any:
    """Without marks, and with strings where a mark made a block of one."""
    if isinstance(value, list):
        return [unmarked(each) for each in value]
    if isinstance(value, dict):
        return {k: unmarked(v) for k, v in value.items() if k != "cache_control"}
    return value


def as_blocks(value: dict[str, Any]) -> dict[str, Any]:
    value = copy.deepcopy(value)

    def blocks(content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    if "system" in value:
        value["system"] = blocks(value["system"])
    for message in value["messages"]:
        message["content"] = blocks(message["content"])
    return value


def test_prefixes_come_in_the_order_of_the_cache() -> None:
    prompt = prefixes(json.dumps(body()).encode())
    assert prompt is not None
    assert [(each.leading, each.last) for each in prompt.found] == [(True, False), (True, False), (False, True)]
    tokens = [each.tokens for each in prompt.found]
    assert tokens == sorted(tokens)


texts = st.text(min_size=1, max_size=30)
blocks = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, texts),
    st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}),
    st.just({"type": "tool_result", "tool_use_id": "t", "content": "ok"}),
    st.just({"type": "thinking", "thinking": "hm", "signature": "s"}),
)
contents = st.one_of(texts, st.lists(blocks, min_size=1, max_size=4))
turns = st.lists(
    st.builds(lambda r, c: {"role": r, "content": c}, st.sampled_from(["user", "assistant"]), contents),
    min_size=1,
    max_size=6,
)


@given(turns, contents, st.booleans(), st.integers(0, 4))
def test_a_marked_body_says_the_same_and_carries_the_marks_it_was_given(
    messages: list[dict[str, Any]], system: Any, tools: bool, indent: int
) -> None:
    said = body(messages=messages, system=system)
    if not tools:
        del said["tools"]
    raw = json.dumps(said, indent=indent or None, ensure_ascii=bool(indent)).encode("utf-8", "surrogatepass")
    if b"cache_control" in raw:
        return
    prompt = prefixes(raw)
    assert prompt is not None
    can = [n for n, each in enumerate(prompt.found) if each.markable]
    at = [(n, 300.0) for n in can]
    found = json.loads(marked(raw, prompt, at))
    assert as_blocks(unmarked(found)) == as_blocks(said)
    assert json.dumps(found).count('"cache_control"') == len(at)


def test_a_mark_of_an_hour_says_so() -> None:
    raw = json.dumps(body()).encode()
    prompt = prefixes(raw)
    assert prompt is not None
    found = json.loads(marked(raw, prompt, [(1, 3600.0), (2, 300.0)]))
    assert found["system"] == [
        {"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert found["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_a_longer_conversation_begins_with_the_shorter_ones_prefixes() -> None:
    short = body()
    long = body(messages=[*short["messages"], {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}])
    one, two = prefixes(json.dumps(short).encode()), prefixes(json.dumps(long).encode())
    assert one is not None
    assert two is not None
    assert {each.digest for each in one.found} < {each.digest for each in two.found}


def test_documents_in_front_of_a_question_are_a_prefix_of_their_own() -> None:
    def asked(question: str) -> set[bytes]:
        content = [{"type": "text", "text": "a long document"}, {"type": "text", "text": question}]
        prompt = prefixes(json.dumps(body(messages=[{"role": "user", "content": content}])).encode())
        assert prompt is not None
        return {each.digest for each in prompt.found}

    assert len(asked("why?") & asked("when?")) == 3  # tools, system, the document


@pytest.mark.parametrize(
    "where",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_where_the_caller_marks_its_prompt_we_do_not(where: dict[str, Any]) -> None:
    assert prefixes(json.dumps(body(**where)).encode()) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"messages":1,"messages":2}', b'{"model":"m"}', b"\xff" * 9])
def test_what_cannot_be_read_has_no_prefixes(raw: bytes) -> None:
    assert prefixes(raw) is None
    leading("chat", raw)


def test_thinking_and_empty_texts_and_deferred_tools_take_no_mark() -> None:
    last = [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "x", "signature": "s"}]
    said = body(
        tools=[{**TOOL, "defer_loading": True}],
        system=" \n",
        messages=[{"role": "user", "content": " "}, {"role": "assistant", "content": last}],
    )
    prompt = prefixes(json.dumps(said).encode())
    assert prompt is not None
    assert [each.markable for each in prompt.found] == [False, False, False, True, False]


def test_a_very_long_conversation_has_a_bounded_number_of_prefixes() -> None:
    said = body(messages=[{"role": "user", "content": f"t {n}"} for n in range(1000)])
    prompt = prefixes(json.dumps(said).encode())
    assert prompt is not None
    assert len(prompt.found) < 64
    assert prompt.found[-1].last


def test_an_openai_prompt_begins_with_its_tools_and_instructions() -> None:
    chat = {"model": "gpt-5.6", "messages": [{"role": "system", "content": "x" * 99}, {"role": "user", "content": "a"}]}
    other = {**chat, "messages": [chat["messages"][0], {"role": "user", "content": "b"}]}
    one, two = leading("chat", json.dumps(chat).encode()), leading("chat", json.dumps(other).encode())
    assert one is not None
    assert one == two
    answers = leading("responses", json.dumps({"model": "m", "instructions": "x" * 99, "input": "a"}).encode())
    assert answers is not None
    assert answers.tokens > 20
    assert leading("chat", json.dumps({**chat, "prompt_cache_key": "mine"}).encode()) is None
    assert json.loads(keyed(json.dumps(chat).encode(), "k")) == {**chat, "prompt_cache_key": "k"}
