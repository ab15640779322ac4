"""A sentence of ours as an answer: our own readers and meters take it for a complete one, and nothing is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.wire import DIALECTS
from headgate.wire.sentence import JSON, STREAM, can_say, say

ENDPOINTS = {"messages": ("anthropic", "end_turn"), "chat": ("openai", "stop"), "responses": ("openai", "completed")}
PATHS = {"messages": "/v1/messages", "chat": "/chat/completions", "responses": "/responses"}
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(text=texts)
def test_a_whole_one_is_read_as_a_finished_answer_that_cost_nothing(endpoint: str, text: str) -> None:
    dialect, stop = ENDPOINTS[endpoint]
    kind, body = say(endpoint, Facts(model="m"), text, exchange_id="ex_1", now=1.5)
    answer, words = DIALECTS[dialect].read_answer(endpoint, body, keep_text=True)
    assert kind == JSON
    assert words == text
    assert (answer.error, answer.model) == (None, "m")
    assert answer.stop_reason in (stop, "")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.output_tokens) == (0, 0)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(text=texts)
def test_a_streamed_one_is_metered_as_a_finished_stream(endpoint: str, text: str) -> None:
    dialect, _ = ENDPOINTS[endpoint]
    facts = Facts(model="m", stream=True, include_usage=True)
    kind, body = say(endpoint, facts, text, exchange_id="ex_1", now=1.5)
    meter = DIALECTS[dialect].meter(endpoint, facts, keep_text=True)
    assert kind == STREAM
    assert meter.feed(body) + meter.finish() == body
    assert meter.ended
    assert meter.started
    assert meter.error is None
    assert meter.text() == text
    assert meter.usage is not None
    assert (meter.usage.prompt_tokens, meter.usage.output_tokens) == (0, 0)


def test_every_choice_that_was_asked_for_says_it() -> None:
    _, body = say("chat", Facts(model="m", choices=3), "no", exchange_id="ex_1", now=0)
    assert [(c["index"], c["message"]["content"]) for c in json.loads(body)["choices"]] == [(n, "no") for n in range(3)]
    _, streamed = say("chat", Facts(model="m", choices=2, stream=True), "no", exchange_id="ex_1", now=0)
    assert streamed.count(b'"content":"no"') == 2
    assert b'"usage"' not in streamed  # the caller has not asked for the chunk


STRUCTURED = {
    "messages": {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
    "chat": {"response_format": {"type": "json_object"}},
    "responses": {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}},
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_where_the_answer_has_to_be_json_only_json_can_be_said(endpoint: str) -> None:
    body = json.dumps(STRUCTURED[endpoint]).encode()
    assert not can_say(endpoint, PATHS[endpoint], Facts(), body, "sorry")
    assert can_say(endpoint, PATHS[endpoint], Facts(), body, '{"label": "unknown"}')
    assert can_say(endpoint, PATHS[endpoint], Facts(), b"{}", "sorry")


@pytest.mark.parametrize(
    ("endpoint", "path", "facts"),
    [
        ("embeddings", "/embeddings", Facts()),
        ("count_tokens", "/v1/messages/count_tokens", Facts()),
        ("other", "/v1/images", Facts()),
        ("responses", "/responses/compact", Facts()),
        ("responses", "/v1/responses", Facts(background=True)),
        ("messages", "/v1/messages", Facts(max_output_tokens=0)),
    ],
)
def test_what_is_no_text_is_not_said(endpoint: str, path: str, facts: Facts) -> None:
    assert not can_say(endpoint, path, facts, b"{}", "sorry")


@pytest.mark.parametrize("path", ["/responses", "/v1/responses", "/responses?x=1", "/responses/"])
def test_a_response_is_said_on_every_form_of_its_path(path: str) -> None:
    assert can_say("responses", path, Facts(), b"{}", "sorry")
