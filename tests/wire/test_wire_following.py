"""Requests that follow an answer, answers made of two, and what an answer's ending says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.testing.canned import chat_request, completion, message, messages_request
from headgate.wire import DIALECTS
from headgate.wire.endings import endings
from headgate.wire.following import asked_schema, can_follow, going_on, repairing, with_text

BODIES = {
    "messages": messages_request(),
    "chat": chat_request(),
    "responses": b'{"model":"gpt-6-luna","input":"hello"}',
}
DIALECT = {"messages": "anthropic", "chat": "openai", "responses": "openai"}


@pytest.mark.parametrize("endpoint", BODIES)
@given(said=st.text(max_size=50), note=st.text(min_size=1, max_size=50))
def test_turns_stand_behind_the_last_one_and_the_rest_stays(endpoint: str, said: str, note: str) -> None:
    body = BODIES[endpoint]
    after = repairing(endpoint, body, said, note)
    DIALECTS[DIALECT[endpoint]].read_request(endpoint, after)
    before, now = json.loads(body), json.loads(after)
    member = "input" if endpoint == "responses" else "messages"
    turns = now.pop(member)
    first = before.pop(member)
    assert now == before
    assert turns[0]["content"] == "hello" if isinstance(first, str) else turns[: len(first)] == first
    assert turns[-1] == {"role": "user", "content": note}
    assert len(turns) == (3 if said.strip() else 2)


def test_the_caller_s_bytes_stay_as_they_are() -> None:
    body = b'{ "model":"m" ,"max_tokens":1.0e1, "messages" : [ {"role":"user","content":"\\u0041"} ], "x":1.50}'
    after = going_on("messages", body, "so far")
    assert after.startswith(b'{ "model":"m" ,"max_tokens":1.0e1, "messages" : [{"role":"user","content":"\\u0041"},')
    assert after.endswith(b', "x":1.50}')


def test_nothing_is_put_into_a_conversation_that_the_provider_keeps() -> None:
    assert can_follow("responses", BODIES["responses"])
    assert not can_follow("responses", b'{"model":"m","input":"x","conversation":"conv_1"}')
    assert not can_follow("embeddings", b"{}")


def test_an_ending_is_told_in_every_dialect() -> None:
    def how(endpoint: str, body: dict[str, object]) -> str:
        return endings(endpoint, json.dumps(body).encode())[0].how

    def chat(**choice: object) -> dict[str, object]:
        return {"choices": [{"message": {"content": "x"}, **choice}]}

    part = {"type": "output_text", "text": "x"}
    item = {"type": "message", "content": [part]}
    assert how("messages", {"content": [], "stop_reason": "end_turn"}) == "end"
    assert how("messages", {"content": [], "stop_reason": "max_tokens"}) == "truncated"
    assert how("messages", {"content": [], "stop_reason": "model_context_window_exceeded"}) == "truncated"
    assert how("messages", {"content": [], "stop_reason": "refusal"}) == "refused"
    assert how("messages", {"content": [], "stop_reason": "pause_turn"}) == "tools"
    assert how("chat", chat(finish_reason="stop")) == "end"
    assert how("chat", chat(finish_reason="length")) == "truncated"
    assert how("chat", chat(finish_reason="content_filter")) == "refused"
    assert (
        how("chat", {"choices": [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]})
        == "refused"
    )
    assert how("chat", chat(finish_reason="tool_calls")) == "tools"
    assert how("responses", {"status": "completed", "output": [item]}) == "end"
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [item]}
    assert how("responses", cut) == "truncated"
    no = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    assert how("responses", {"status": "completed", "output": [no]}) == "refused"
    assert how("responses", {"status": "completed", "output": [{"type": "function_call"}]}) == "tools"
    assert endings("chat", b"no JSON") == []


def test_an_answer_gets_the_text_of_all_attempts() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    parts = [thinking, {"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    made = with_text("messages", message(content=parts)[0], "abc")
    assert [each.text for each in endings("messages", made)] == ["abc"]
    assert json.loads(made)["content"][0] == thinking
    assert [each.text for each in endings("chat", with_text("chat", completion("c")[0], "abc"))] == ["abc"]
    response = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "c"}]}]}
    made = with_text("responses", json.dumps(response).encode(), "abc")
    assert [each.text for each in endings("responses", made)] == ["abc"]


def test_a_request_s_schema_is_found_wherever_its_dialect_has_it() -> None:
    schema = {"type": "integer"}
    told = {"type": "json_schema", "schema": schema}
    places = {
        "messages": [{"output_config": {"format": told}}, {"output_format": told}],
        "chat": [{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}],
        "responses": [{"text": {"format": {"name": "x", **told}}}],
    }
    for endpoint, bodies in places.items():
        for body in bodies:
            assert json.loads(asked_schema(endpoint, json.dumps(body).encode())) == schema
    assert asked_schema("chat", b'{"response_format":{"type":"json_object"}}') == '{"type":"object"}'
    assert asked_schema("chat", b'{"response_format":{"type":"text"}}') == ""
