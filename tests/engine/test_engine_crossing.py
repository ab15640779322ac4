"""Attempts at routes of the other dialect: what is sent and charged, what comes back, what stands in the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crossing_calls import BUSY, MIXED, ONCE, asks, names, sent

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import BadRequest
from headgate.core.exchange import Ending
from headgate.policy.ladder import Step
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import (
    CLAUDE,
    GPT,
    JSON,
    SSE,
    completion,
    completion_stream,
    event,
    message,
    message_stream,
)
from headgate.testing.fakes import route


def test_a_caller_of_anthropics_is_served_by_openai_in_openais_terms(play: Any) -> None:
    world = World(completion("hi"), models=MIXED)
    sdk = [
        (b"x-stainless-lang", b"python"),
        (b"anthropic-version", b"2026-10-21"),
        (b"x-api-key", b"the-callers-own"),
        (b"user-agent", b"Anthropic/Python"),
        (b"accept-encoding", b"gzip"),
        (b"traceparent", b"00-1-2-01"),
    ]
    body, _ = asks("anthropic", "gpt", system="Be kind.")
    played = play(world, body, path="/v1/messages?beta=true", headers=sdk)
    outgoing = world.upstream.sent[0]
    assert outgoing.url == "https://openai.test/v1/chat/completions"
    assert names(world) == {b"content-type", b"accept", b"user-agent", b"traceparent", b"authorization"}
    assert dict(outgoing.headers)[b"authorization"] == b"Bearer fake-openai"
    assert sent(world)["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (sent(world)["model"], sent(world)["max_completion_tokens"]) == (GPT, 100)
    answer = json.loads(played.body)
    assert (played.status, answer["type"], answer["content"]) == (200, "message", [{"type": "text", "text": "hi"}])
    assert played.headers[b"x-headgate-model"] == GPT.encode()
    assert b"x-headgate-degraded" not in played.headers


def test_a_caller_of_openais_is_served_by_anthropic_in_anthropics_terms(play: Any) -> None:
    world = World(message("hi"), models=MIXED)
    sdk = [(b"authorization", b"Bearer the-callers-own"), (b"openai-organization", b"org"), (b"x-stainless-os", b"x")]
    body, dialect = asks("openai", "claude")
    played = play(world, body, dialect=dialect, headers=sdk)
    outgoing = world.upstream.sent[0]
    assert outgoing.url == "https://anthropic.test/v1/messages"
    assert names(world) == {b"content-type", b"accept", b"user-agent", b"anthropic-version", b"x-api-key"}
    assert dict(outgoing.headers)[b"x-api-key"] == b"fake-anthropic"
    answer = json.loads(played.body)
    assert (answer["object"], answer["choices"][0]["message"]["content"]) == ("chat.completion", "hi")
    assert answer["created"] == int(world.clock.now())


@pytest.mark.parametrize(
    ("dialect", "model", "answer"), [("anthropic", "gpt", completion), ("openai", "claude", message)]
)
def test_the_bill_is_the_providers_by_its_own_count_and_price(play: Any, dialect: str, model: str, answer: Any) -> None:
    world = World(answer(input_tokens=1000, output_tokens=200), models=MIXED)
    body, _ = asks(dialect, model)
    play(world, body, dialect=dialect)
    attempt = world.exchange.attempts[0]
    charges = world.engine.policies.charges
    assert attempt.usage is not None
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (1000, 200)
    cost, _ = charges.charge(attempt.route, attempt.route.model, attempt.usage, attempt.started)
    assert (world.exchange.cost_nano, world.exchange.estimated) == (cost, False)
    assert cost > 0


@pytest.mark.parametrize(("dialect", "model"), [("anthropic", "gpt"), ("openai", "claude")])
def test_the_bound_is_of_the_providers_model_and_of_the_body_that_it_gets(play: Any, dialect: str, model: str) -> None:
    budget = Budget("all/day", cap_nano=10**12, every="day")
    world = World(message() if model == "claude" else completion(), models=MIXED, budgets=[budget])
    body, _ = asks(dialect, model)
    play(world, body, dialect=dialect)
    attempt = world.exchange.attempts[0]
    assert attempt.sent_as is not None
    body = world.upstream.sent[0].body
    assert attempt.sent_as.body == body
    bound = world.engine.policies.charges.bound(attempt.route, attempt.sent_as.facts, len(body), attempt.started)
    assert bound is not None
    assert attempt.bound_nano == bound.nano


def test_a_cap_that_the_caller_left_out_is_the_most_that_anthropics_model_can_and_that_is_held(play: Any) -> None:
    world = World(message(), models=MIXED)
    uncapped = json.dumps({"model": "claude", "messages": [{"role": "user", "content": "hello"}]}).encode()
    play(world, uncapped, dialect="openai")
    attempt = world.exchange.attempts[0]
    most = world.engine.policies.charges.most_output(attempt.route, attempt.started)
    assert most is not None
    assert sent(world)["max_tokens"] == most
    assert attempt.bound_tokens > most


def test_near_a_cap_anthropic_counts_the_translated_prompt(play: Any) -> None:
    long = [{"role": "user", "content": "a long story, told again and again. " * 400}]
    counted = FakeAnswer(200, ((b"content-type", JSON),), [b'{"input_tokens": 3000}'])
    budget = Budget("all/day", cap_nano=10_000_000, every="day")
    world = World(counted, message("hi"), models=MIXED, budgets=[budget])
    played = play(world, asks("openai", "claude", messages=long)[0], dialect="openai")
    count, call = world.upstream.sent
    assert (played.status, count.url) == (200, "https://anthropic.test/v1/messages/count_tokens")
    assert json.loads(count.body)["model"] == CLAUDE
    assert dict(count.headers)[b"x-api-key"] == b"fake-anthropic"
    assert call.url == "https://anthropic.test/v1/messages"


def test_what_was_dropped_is_said_in_the_header_and_in_the_record(play: Any) -> None:
    world = World(completion(), models=MIXED)
    cached = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    played = play(world, asks("anthropic", "gpt", system=cached, top_k=3)[0])
    words = played.headers[b"x-headgate-degraded"].decode()
    assert words.startswith("translated: ")
    assert set(words.removeprefix("translated: ").split(", ")) == {"top_k", "cache_control"}
    assert world.exchange.degradation == words
    assert set(world.exchange.attempts[0].lost) == {"top_k", "cache_control"}


def test_features_that_a_header_asks_for_are_said_to_be_lost(play: Any) -> None:
    world = World(completion(), models=MIXED)
    played = play(world, asks("anthropic", "gpt")[0], headers=[(b"anthropic-beta", b"context-1m")])
    assert played.headers[b"x-headgate-degraded"] == b"translated: beta_features"


UNMAPPED = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}


def test_a_route_that_cannot_be_told_the_request_is_skipped_for_the_next(play: Any) -> None:
    world = World(message("hi"), models=MIXED)
    played = play(world, asks("anthropic", "gpt-first", **UNMAPPED)[0])
    assert (played.status, [a.route.provider for a in world.exchange.attempts]) == (200, ["anthropic"])
    assert b"x-headgate-degraded" not in played.headers


def test_where_no_other_route_is_left_the_caller_is_told_what_cannot_be_translated(play: Any) -> None:
    world = World(models=MIXED)
    played = play(world, asks("anthropic", "gpt", **UNMAPPED)[0])
    told = json.loads(played.body)
    assert (played.status, told["headgate"]["code"], world.exchange.ending) == (400, "not_translatable", Ending.REFUSED)
    assert "`tools.0` cannot be translated" in told["error"]["message"]
    assert "lossy: {server_tools: drop}" in told["error"]["message"]
    assert isinstance(played.error, BadRequest)
    assert world.upstream.sent == []
    assert world.ledger.intents == []


def test_a_fallback_that_cannot_be_told_the_request_leaves_the_retries_to_the_first_route(play: Any) -> None:
    world = World(BUSY, BUSY, message("hi"), models=MIXED, recovery=ONCE)
    played = play(world, asks("anthropic", "claude-first", **UNMAPPED)[0])
    assert (played.status, [a.route.provider for a in world.exchange.attempts]) == (200, ["anthropic"] * 3)


def test_where_the_only_fallback_cannot_be_told_the_request_the_providers_failure_is_the_answer(play: Any) -> None:
    missing = FakeAnswer(404, pieces=[b'{"type":"error","error":{"type":"not_found_error","message":"no such model"}}'])
    world = World(missing, models=MIXED)
    played = play(world, asks("anthropic", "claude-first", **UNMAPPED)[0])
    assert (played.status, json.loads(played.body)["error"]["message"]) == (404, "no such model")


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_overloaded_is_replaced_by_one_of_the_other_dialect(play: Any, stream: bool) -> None:
    world = World(BUSY, completion_stream("hi") if stream else completion("hi"), models=MIXED, recovery=ONCE)
    played = play(world, asks("anthropic", "claude-first", stream=stream, top_k=1)[0])
    assert played.status == 200
    assert b'"text":"hi"' in played.body
    assert [(a.route.provider, a.lost) for a in world.exchange.attempts] == [("anthropic", ()), ("openai", ("top_k",))]
    assert sent(world, 0)["top_k"] == 1
    assert played.headers[b"x-headgate-degraded"] == b"translated: top_k"


def test_a_stream_of_anthropics_that_fails_before_its_first_content_goes_on_at_openai(play: Any) -> None:
    overloaded = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    world = World([message_stream()[0], overloaded], completion_stream("hi"), models=MIXED, recovery=ONCE)
    played = play(world, asks("anthropic", "claude-first", stream=True)[0])
    assert played.body.count(b"event: message_start") == 1
    assert b"chatcmpl" not in played.body
    assert [a.route.provider for a in world.exchange.attempts] == ["anthropic", "openai"]


def test_thinking_of_the_first_model_is_dropped_and_reported_where_another_one_takes_over(play: Any) -> None:
    turns = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "2"}]},
        {"role": "user", "content": "sure?"},
    ]
    for model, other in (("claudes", message), ("claude-first", completion)):
        world = World(BUSY, other("yes"), models=MIXED, recovery=ONCE, task={"drops_thinking": True})
        played = play(world, asks("anthropic", model, messages=turns)[0])
        assert (played.status, played.headers[b"x-headgate-degraded"]) == (200, b"translated: thinking")
        assert b"c2ln" in world.upstream.sent[0].body
        assert b"c2ln" not in world.upstream.sent[1].body


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}


def test_thinking_stays_where_its_model_is_asked_again_and_where_only_a_text_speaks_of_it(play: Any) -> None:
    thought = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [THOUGHT]}]
    said = [{"role": "user", "content": 'what is "thinking"?'}]
    for turns, model in ((thought, "claude"), (said, "claudes")):
        world = World(BUSY, message(), models=MIXED, recovery=ONCE)
        played = play(world, asks("anthropic", model, messages=turns)[0])
        assert sent(world)["messages"] == turns
        assert b"x-headgate-degraded" not in played.headers


def test_thinking_is_dropped_where_a_ladder_or_a_budget_leads_to_another_model(play: Any) -> None:
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "!"}]},
    ]
    body = asks("anthropic", "claude-opus-5", messages=turns, max_tokens=1000)[0]
    short = Budget("user/day", ("user",), cap_nano=3_000_000, every="day", degrade_to="claude-haiku-5-5")
    world = World(message("hi"), models=MIXED, budgets=[short])
    played = play(world, body, caller=Caller(user="ada"))
    assert played.headers[b"x-headgate-degraded"] == b"budget user/day: claude-haiku-5-5; translated: thinking"
    ladder = [Step(frozenset({"overload"}), model="claudes")]
    drops = {"drops_thinking": True}
    world = World(BUSY, message("hi"), models=MIXED, recovery=Recovery(attempts=1), ladder=ladder, task=drops)
    played = play(world, body)
    assert played.headers[b"x-headgate-degraded"] == b"overload: claudes; translated: thinking"
    assert b"c2ln" not in world.upstream.sent[1].body


@pytest.mark.parametrize("task", [{}, {"drops_thinking": True}])
def test_a_tool_turn_that_began_at_the_other_vendor_goes_on_there_translated(play: Any, task: dict[str, Any]) -> None:
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {}}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "found"}]},
    ]
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    world = World(completion("hi"), models=MIXED, task=task)
    played = play(world, asks("anthropic", "gpt-first", messages=turns, tools=[tool])[0])
    assert (played.status, sent(world)["messages"][-1]["role"]) == (200, "tool")
    assert world.upstream.sent[0].url == "https://openai.test/v1/chat/completions"


def test_a_budget_may_degrade_to_a_model_of_the_other_dialect(play: Any) -> None:
    cheap = Budget("user/day", ("user",), cap_nano=2_000_000, every="day", degrade_to="gpt")
    world = World(completion("hi"), models=MIXED, budgets=[cheap])
    played = play(world, asks("anthropic", "claude-opus-5", top_k=1, max_tokens=1000)[0], caller=Caller(user="ada"))
    assert played.status == 200
    assert played.headers[b"x-headgate-degraded"] == b"budget user/day: gpt; translated: top_k"


# Errors and headers

OWNER = Recovery(attempts=1)


@pytest.mark.parametrize(
    ("status", "body", "told", "kind"),
    [
        (400, {"error": {"message": "m", "type": "invalid_request_error", "code": None}}, 400, "invalid_request_error"),
        (401, {"error": {"message": "m", "type": "x", "code": "invalid_api_key"}}, 401, "authentication_error"),
        (
            429,
            {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}},
            402,
            "billing_error",
        ),
        (404, {"error": {"message": "m", "type": "x", "code": "model_not_found"}}, 404, "not_found_error"),
        (429, {"error": {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}}, 429, "rate_limit_error"),
        (503, {"error": {"message": "m", "type": "service_unavailable_error"}}, 529, "overloaded_error"),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, 400, "invalid_request_error"),
    ],
)
def test_a_providers_own_error_is_said_in_the_callers_words(
    play: Any, status: int, body: Any, told: int, kind: str
) -> None:
    headers = ((b"content-type", JSON), (b"x-request-id", b"req_1"), (b"retry-after", b"7"), (b"x-ratelimit-x", b"1"))
    world = World(FakeAnswer(status, headers, [json.dumps(body).encode()]), models=MIXED, recovery=OWNER)
    played = play(world, asks("anthropic", "gpt")[0])
    said = json.loads(played.body)
    assert (played.status, said["type"], said["error"]["type"]) == (told, "error", kind)
    assert played.exchange.status == told
    assert world.exchange.attempts[0].status == status
    assert played.headers[b"request-id"] == b"req_1"
    assert played.headers[b"retry-after"] == b"7"
    assert b"x-ratelimit-x" not in played.headers


def test_an_error_in_a_coding_is_read_before_it_is_translated(play: Any) -> None:
    import gzip

    body = gzip.compress(b'{"error":{"message":"no such model","type":"x","code":"model_not_found"}}')
    headers = ((b"content-type", JSON), (b"content-encoding", b"gzip"))
    world = World(FakeAnswer(404, headers, [body]), models=MIXED)
    played = play(world, asks("anthropic", "gpt")[0])
    assert json.loads(played.body)["error"]["message"] == "no such model"
    assert b"content-encoding" not in played.headers


def test_of_the_providers_headers_only_what_concerns_the_caller_comes_back(play: Any) -> None:
    headers = (
        (b"content-type", SSE),
        (b"request-id", b"req_9"),
        (b"anthropic-ratelimit-requests-remaining", b"1"),
        (b"set-cookie", b"vendor=1"),
        (b"x-headgate-simulated", b"true"),
    )
    world = World(FakeAnswer(200, headers, message_stream("hi")), models=MIXED)
    played = play(world, asks("openai", "claude", stream=True)[0], dialect="openai")
    assert played.headers[b"x-request-id"] == b"req_9"
    assert played.headers[b"content-type"] == SSE
    assert played.headers[b"x-headgate-simulated"] == b"true"
    assert not {b"request-id", b"set-cookie", b"anthropic-ratelimit-requests-remaining"} & set(played.headers)
    assert world.exchange.attempts[0].request_id == "req_9"


def test_a_request_for_two_routes_of_one_model_is_translated_once(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from headgate.engine import crossing

    made: list[str] = []
    translate = crossing.translate_request

    def counted(*args: Any, **told: Any) -> Any:
        made.append(told["model"])
        return translate(*args, **told)

    monkeypatch.setattr(crossing, "translate_request", counted)
    world = World(BUSY, BUSY, completion(), models=MIXED, recovery=Recovery(attempts=4, per_route=4))
    assert play(world, asks("anthropic", "gpt")[0]).status == 200
    assert (len(world.exchange.attempts), made) == (3, [GPT])


def test_a_direct_attempt_translates_nothing(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from headgate.engine import crossing

    monkeypatch.setattr(crossing, "translate_request", None)
    world = World(message("hi"), models=MIXED)
    assert play(world, asks("anthropic", "claude-first")[0]).status == 200
    assert world.exchange.attempts[0].sent_as is None


def test_in_process_a_fallback_of_the_other_dialect_takes_its_base_url_and_key_from_the_configuration(
    play: Any,
) -> None:
    own = route("anthropic")
    from dataclasses import replace

    own = replace(own, base_url="https://elsewhere.test", credential=None)
    world = World(BUSY, completion("hi"), models=MIXED, recovery=ONCE)
    sdk = [(b"x-api-key", b"the-callers-own")]
    play(world, asks("anthropic", "claude-first")[0], direct=own, headers=sdk)
    first, second = world.upstream.sent
    assert (first.url, dict(first.headers)) == ("https://elsewhere.test/v1/messages", dict(sdk))
    assert second.url == "https://openai.test/v1/chat/completions"
    assert b"the-callers-own" not in b"".join(value for _, value in second.headers)
