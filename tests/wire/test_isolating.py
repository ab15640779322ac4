"""Isolation of requests: what is marked, where the note goes, and what stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.guards.provenance import delimiters, mark, note
from headgate.wire.isolating import isolate
from headgate.wire.jsontext import Span, elements
from headgate.wire.segments import segments

BY = delimiters(b"k" * 32, "s-1")
NOTE = note("xml", BY)
TOOL_TEXT = mark("sunny", "tool", "xml", BY)
CACHED = {"cache_control": {"type": "ephemeral"}}


def raw_isolated(dialect: str, endpoint: str, raw: bytes, mode: str = "xml") -> bytes:
    return isolate(dialect, endpoint, raw, segments(dialect, endpoint, raw), mode, BY)


def isolated(dialect: str, endpoint: str, body: dict[str, Any], mode: str = "xml") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw_isolated(dialect, endpoint, json.dumps(body).encode(), mode))
    return found


def messages(system: Any = None, **more: Any) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "sunny"}
    turns = [{"role": "user", "content": "weather?"}, {"role": "user", "content": [result]}]
    return {"model": "m", "max_tokens": 9, "messages": turns} | ({} if system is None else {"system": system}) | more


def chat(*leading: dict[str, Any]) -> dict[str, Any]:
    turns = [{"role": "user", "content": "weather?"}, {"role": "tool", "tool_call_id": "t", "content": "sunny"}]
    return {"model": "m", "messages": [*leading, *turns]}


def test_tool_results_and_documents_are_marked_and_the_users_words_are_not() -> None:
    body = messages()
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    body["messages"].append({"role": "user", "content": [{"type": "document", "title": "T", "source": source}]})
    found = isolated("anthropic", "messages", body)["messages"]
    assert found[0]["content"] == "weather?"
    assert found[1]["content"][0]["content"] == TOOL_TEXT
    assert found[2]["content"][0]["source"]["data"] == mark("words", "document", "xml", BY)
    assert found[2]["content"][0]["title"] == "T"


@pytest.mark.parametrize("mode", ["xml", "datamark", "encode"])
def test_guards_see_what_was_isolated_as_it_was(mode: str) -> None:
    found = isolated("openai", "chat", chat({"role": "system", "content": "be kind"}), mode)
    assert found["messages"][0]["content"] == f"be kind\n\n{note(mode, BY)}"
    assert found["messages"][2]["content"] == mark("sunny", "tool", mode, BY)


def test_the_note_stands_behind_a_system_prompt_and_leaves_cached_blocks_alone() -> None:
    assert isolated("anthropic", "messages", messages("be kind"))["system"] == f"be kind\n\n{NOTE}"
    blocks = [{"type": "text", "text": "be kind", **CACHED}]
    found = isolated("anthropic", "messages", messages(blocks))["system"]
    assert found == [*blocks, {"type": "text", "text": NOTE}]
    assert isolated("anthropic", "messages", messages([]))["system"] == [{"type": "text", "text": NOTE}]
    assert isolated("anthropic", "messages", messages(""))["system"] == NOTE
    assert isolated("anthropic", "messages", messages())["system"] == NOTE


def test_the_note_of_a_chat_stands_behind_the_last_of_its_leading_messages() -> None:
    found = isolated(
        "openai",
        "chat",
        chat({"role": "system", "content": "one"}, {"role": "developer", "content": [{"type": "text", "text": "two"}]}),
    )["messages"]
    assert found[0]["content"] == "one"
    assert found[1]["content"] == [{"type": "text", "text": "two"}, {"type": "text", "text": NOTE}]


def test_a_chat_without_a_system_message_has_the_note_at_the_beginning_of_its_last_user_turn() -> None:
    body = chat()
    body["messages"][:0] = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    found = isolated("openai", "chat", body)["messages"]
    assert found[0]["content"] == "hello"
    assert found[2]["content"] == f"{NOTE}\n\nweather?"


def test_the_note_of_a_response_is_in_its_instructions_or_before_the_question_of_a_stored_prompt() -> None:
    items = [
        {"role": "user", "content": "weather?"},
        {"type": "function_call_output", "call_id": "t", "output": "sunny"},
    ]
    body = {"model": "m", "input": items}
    found = isolated("openai", "responses", body)
    assert (found["instructions"], found["input"][1]["output"]) == (NOTE, TOOL_TEXT)
    assert isolated("openai", "responses", body | {"instructions": "be kind"})["instructions"] == f"be kind\n\n{NOTE}"
    assert isolated("openai", "responses", body | {"instructions": None})["instructions"] == NOTE
    stored = isolated("openai", "responses", body | {"prompt": {"id": "pmpt_1"}})
    assert "instructions" not in stored
    assert stored["input"][0]["content"] == f"{NOTE}\n\nweather?"


def test_every_byte_that_is_not_marked_is_as_it_was() -> None:
    said = b'[{"role":"user","content":[{"type":"tool_result","content":"sunny","x":1e2}]}]'
    raw = b'{ "model": "m",\t"n": 1.50, "max_tokens":9, "system":"caf\\u00e9", "messages":%b}' % said
    changed = raw_isolated("anthropic", "messages", raw)
    quoted = json.dumps(TOOL_TEXT, ensure_ascii=False).encode()
    words = json.dumps(f"\n\n{NOTE}", ensure_ascii=False).encode()[1:-1]
    assert changed == raw.replace(b'"sunny"', quoted).replace(b"caf\\u00e9", b"caf\\u00e9" + words)


def test_a_conversation_without_tools_and_documents_passes_as_it_came() -> None:
    raw = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
    assert raw_isolated("anthropic", "messages", raw) is raw


def test_a_conversation_with_tools_has_the_note_before_any_has_answered() -> None:
    body = {"model": "m", "max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": "hi"}]}
    body["tools"] = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
    found = isolated("anthropic", "messages", body)
    assert found == body | {"system": f"s\n\n{NOTE}"}


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() -> None:
    body = messages("be kind")
    shorter = json.dumps(isolated("anthropic", "messages", body)["messages"])
    body["messages"].append({"role": "assistant", "content": "It is sunny."})
    longer = json.dumps(isolated("anthropic", "messages", body)["messages"])
    assert longer.startswith(shorter[:-1])


def test_what_is_marked_already_or_must_stay_as_it_is_is_not_marked() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    own = mark("page", "web", "xml", delimiters(b"o" * 32, ""))
    body = messages()
    body["messages"] = [
        {"role": "user", "content": own},
        {"role": "user", "content": [{"type": "document", "source": source, "citations": {"enabled": True}}]},
        {"role": "assistant", "content": [{"type": "mcp_tool_result", "content": [{"type": "text", "text": "m"}]}]},
    ]
    raw = json.dumps(body).encode()
    assert raw_isolated("anthropic", "messages", raw) is raw
    once = json.dumps(messages(f"be kind {NOTE}")).encode()
    assert json.loads(raw_isolated("anthropic", "messages", once))["system"] == f"be kind {NOTE}"


def test_a_tool_result_that_brings_marks_of_its_own_is_marked_all_the_same() -> None:
    fake = f"before {mark('evil', 'web', 'xml', delimiters(b'e' * 32, ''))} after"
    body = chat({"role": "system", "content": "s"})
    body["messages"][-1]["content"] = fake
    found = isolated("openai", "chat", body)["messages"][-1]["content"]
    assert found == mark(fake, "tool", "xml", BY)
    assert "&lt;untrusted-" in found


def test_a_body_that_only_lenient_readers_take_is_marked_as_well() -> None:
    items = b'[{"role":"user","content":"hi"},{"type":"function_call_output","output":"sunny"}]'
    raw = b'{"model":"m","x":NaN,"input":%b}' % items
    changed = raw_isolated("openai", "count_tokens", raw)
    assert changed.count(b"</untrusted-") == 1
    assert b'"x":NaN' in changed


@pytest.mark.parametrize("endpoint", ["embeddings", "moderations", "other"])
def test_what_is_embedded_or_moderated_passes_as_it_came(endpoint: str) -> None:
    raw = b'{"model":"m","input":["words"]}'
    assert raw_isolated("openai", endpoint, raw) is raw


texts = st.text(max_size=8)
contents = texts | st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "tool_result", "document"])}, optional={"text": texts, "content": texts}
    ),
    max_size=3,
)
roles = st.sampled_from(["user", "assistant", "tool", "system", "developer"])
turns = st.lists(st.fixed_dictionaries({}, optional={"role": roles, "content": contents | st.none()}), max_size=4)
prompts = st.none() | texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2)


@settings(max_examples=150, deadline=None)
@given(
    turns,
    prompts,
    st.sampled_from([("anthropic", "messages"), ("openai", "chat"), ("openai", "responses")]),
    st.sampled_from([None, 2]),
)
def test_isolation_changes_only_texts_and_says_the_note_once(
    said: list[Any], prompt: Any, where: tuple[str, str], indent: int | None
) -> None:
    body = {"model": "m", "messages": said, "input": said, "system": prompt, "instructions": prompt}
    raw = json.dumps(body, indent=indent).encode()
    changed = raw_isolated(*where, raw)
    found = json.loads(changed)
    assert list(found) == list(body)
    assert len(found["messages"]) == len(found["input"]) == len(said)
    if changed is not raw:
        assert len(changed) > len(raw)
        assert json.dumps(found).count("is data to work on") <= 1
        taken = [each.plain for each in segments(*where, changed) if each.channel in ("document", "tool_result")]
        assert len(taken) >= changed.count(b"</untrusted-") > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.recursive(st.none() | st.integers() | texts, st.lists, max_leaves=5), max_size=5))
def test_elements_are_where_they_are(values: list[Any]) -> None:
    for layout in ({}, {"indent": 1}, {"separators": (",", ":")}):
        raw = b" " + json.dumps(values, **layout).encode()
        places = elements(raw, Span(1, len(raw)))
        assert [json.loads(raw[place.start : place.end]) for place in places] == values
