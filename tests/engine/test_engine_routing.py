"""Tasks' models and caps, fallback by class, refusals, sessions that are tied to a model: what is sent, and charged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import NoTurn, UpstreamTimeout
from headgate.core.exchange import Attempt, Ending, Exchange, Route
from headgate.engine.engine import Engine
from headgate.policy.fallback import Fallbacks
from headgate.policy.ladder import Step
from headgate.policy.preferences import Virtual
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, Passed, World
from headgate.testing.canned import (
    CLAUDE,
    DONE,
    JSON,
    SSE,
    chat_request,
    chunk,
    completion,
    delta,
    event,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import FakeClock, route

SONNET = "claude-sonnet-4-5"
OPUS = "claude-opus-4-5"
MODELS = {
    "fast": [route("anthropic", CLAUDE)],
    "two": [route("anthropic", CLAUDE), route("anthropic", SONNET)],
    "strong": [route("anthropic", OPUS)],
}
FAST = messages_request(model="fast")


def failed(status: int, kind: str, text: str = "no") -> FakeAnswer:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode()
    return FakeAnswer(status, ((b"content-type", JSON),), [body])


TOO_LONG = failed(400, "invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum")
OVERLOADED = failed(529, "overloaded_error")


def world(*script: Any, **lists: Any) -> World:
    return World(*script, models=MODELS, fallbacks=Fallbacks({"fast": lists}))


def served(found: World) -> list[str]:
    assert found.exchange is not None
    return [attempt.route.model for attempt in found.exchange.attempts]


def sent(found: World, place: int = -1) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(found.upstream.sent[place].body)
    return body


# Tasks


def test_a_tasks_model_serves_in_place_of_what_is_asked_for(run: Any) -> None:
    found = World(message(), models=MODELS, task={"model": "strong"})
    assert run(found.call(found.request(messages_request(model="gpt-whatever")))).status == 200
    assert sent(found)["model"] == OPUS
    found = World(FakeAnswer(pieces=[b'{"input_tokens": 3}']), models=MODELS, task={"model": "strong"})
    run(found.call(found.request(messages_request(model="x"), path="/v1/messages/count_tokens")))
    assert sent(found)["model"] == OPUS


def test_a_tasks_model_does_not_serve_embeddings(run: Any) -> None:
    answer = json.dumps({"model": "text-embedding-3-small", "usage": {"prompt_tokens": 2, "total_tokens": 2}}).encode()
    found = World([answer], models=MODELS, task={"model": "strong", "max_tokens": 5})
    body = b'{"model": "text-embedding-3-small", "input": "x"}'
    assert run(found.call(found.request(body, dialect="openai", path="/embeddings"))).status == 200
    assert found.upstream.sent[0].body == body


@pytest.mark.parametrize(("asked", "gets"), [(100, 50), (50, 50), (7, 7), (0, 0)])
def test_a_tasks_output_cap_lowers_a_higher_one_and_leaves_a_lower_one(run: Any, asked: int, gets: int) -> None:
    found = World(message(), task={"max_tokens": 50})
    played = run(found.call(found.request(messages_request(max_tokens=asked))))
    assert sent(found)["max_tokens"] == gets
    assert played.exchange.request.facts.max_output_tokens == gets


@pytest.mark.parametrize(
    ("caps", "gets"),
    [
        ({}, {"max_completion_tokens": 50}),
        ({"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": 50}),
        ({"max_tokens": 90}, {"max_tokens": 50}),
        ({"max_tokens": 9, "max_completion_tokens": 90}, {"max_tokens": 9, "max_completion_tokens": 50}),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
    ],
)
def test_of_a_chat_whichever_cap_is_higher_is_lowered_and_one_is_put_in_where_there_is_none(
    run: Any, caps: dict[str, Any], gets: dict[str, Any]
) -> None:
    found = World(completion(), task={"max_tokens": 50})
    body = {"model": "gpt-6-luna", "messages": [], **caps}
    run(found.call(found.request(json.dumps(body).encode(), dialect="openai")))
    assert sent(found) == {**body, **gets}


def test_money_is_held_for_the_lowered_cap(run: Any) -> None:
    bounds = []
    for task in ({}, {"max_tokens": 50}):
        found = World(message(), task=task)
        played = run(found.call(found.request(messages_request(max_tokens=4_000))))
        bounds.append(played.exchange.attempts[0].bound_nano)
    assert 0 < bounds[1] < bounds[0]


# Fallback by class


def test_a_prompt_that_is_too_long_goes_to_the_model_named_for_that(run: Any) -> None:
    found = world(TOO_LONG, message(), context_length=("strong",))
    played = run(found.call(found.request(FAST)))
    assert (played.status, served(found)) == (200, [CLAUDE, OPUS])
    assert played.headers[b"x-headgate-attempts"] == b"2"
    assert found.clock.slept == []


def test_a_prompt_that_is_too_long_is_the_callers_mistake_where_nothing_is_named(run: Any) -> None:
    found = world(TOO_LONG, any=("strong",))
    played = run(found.call(found.request(FAST)))
    assert (played.status, served(found)) == (400, [CLAUDE])
    assert b"prompt is too long" in played.body


def test_what_is_named_follows_at_once_in_place_of_the_next_route(run: Any) -> None:
    found = World(OVERLOADED, message(), models=MODELS, fallbacks=Fallbacks({"two": {"overload": ("strong",)}}))
    assert run(found.call(found.request(messages_request(model="two")))).status == 200
    assert (served(found), found.clock.slept) == ([CLAUDE, OPUS], [])


def test_another_class_of_failure_goes_on_as_without_fallbacks(run: Any) -> None:
    found = World(
        failed(500, "api_error"), message(), models=MODELS, fallbacks=Fallbacks({"two": {"overload": ("strong",)}})
    )
    run(found.call(found.request(messages_request(model="two"))))
    assert (served(found), found.clock.slept) == ([CLAUDE, CLAUDE], [0.25])


def test_the_first_timeout_goes_to_the_model_named_for_it_with_a_longer_timer(run: Any) -> None:
    slow = UpstreamTimeout("slow", kind="timeout", retryable=True, elsewhere=True, maybe_billed=True)
    found = world(slow, message(), timeout=("strong",))
    assert run(found.call(found.request(FAST))).status == 200
    assert served(found) == [CLAUDE, OPUS]
    assert found.upstream.sent[1].timeouts.first_byte == 2 * (60.0 + 100 * 3600 / 128_000)


def test_a_class_goes_down_its_list_once_and_each_model_is_tried_once(run: Any) -> None:
    lists = ("strong", f"anthropic/{SONNET}", "two")
    found = world(*[OVERLOADED] * 4, overload=lists)
    played = run(found.call(found.request(FAST)))
    assert played.status == 503
    assert served(found) == [CLAUDE, OPUS, SONNET, SONNET]
    assert found.clock.slept == [0.5 * 8]


def test_the_default_is_for_every_model_and_skips_what_has_been_tried(run: Any) -> None:
    found = World(OVERLOADED, message(), models=MODELS, fallbacks=Fallbacks(default={"any": ("fast", "strong")}))
    assert run(found.call(found.request(messages_request(model=CLAUDE)))).status == 200
    assert served(found) == [CLAUDE, OPUS]


def test_nothing_follows_where_the_caller_owns_the_retries(run: Any) -> None:
    found = World(
        OVERLOADED, models=MODELS, fallbacks=Fallbacks({"fast": {"any": ("strong",)}}), recovery=Recovery(attempts=1)
    )
    assert run(found.call(found.request(FAST))).status == 529
    assert served(found) == [CLAUDE]


def test_a_fallback_without_a_price_is_skipped(run: Any) -> None:
    found = world(OVERLOADED, message(), overload=("anthropic/claude-unheard-of", "strong"))
    run(found.call(found.request(FAST)))
    assert served(found) == [CLAUDE, OPUS]


# Refusals


def refusal(tokens: int = 5) -> list[bytes]:
    return message("", output_tokens=tokens, stop_reason="refusal", content=[])


def refusal_stream() -> FakeAnswer:
    frames = message_stream()
    stop = event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 3})
    return FakeAnswer(headers=((b"content-type", SSE),), pieces=[frames[0], stop, frames[-1]])


def test_a_refusal_is_a_complete_answer_where_nothing_is_named_for_it(run: Any) -> None:
    found = world(refusal(), any=("strong",))
    played = run(found.call(found.request(FAST)))
    assert (played.status, played.exchange.ending, served(found)) == (200, Ending.COMPLETE, [CLAUDE])


def test_a_refusal_goes_to_the_model_named_for_it_and_both_are_charged(run: Any) -> None:
    found = world(refusal(7), message("yes"), refusal=("strong",))
    played = run(found.call(found.request(FAST)))
    assert (played.status, served(found)) == (200, [CLAUDE, OPUS])
    assert b"yes" in played.body
    first, second = played.exchange.attempts
    assert (first.error.kind, first.usage.output_tokens, first.estimated) == ("refusal", 7, False)
    assert first.cost_nano > 0
    assert played.exchange.cost_nano == first.cost_nano + second.cost_nano


def test_a_refusal_comes_after_all_where_what_follows_it_fails(run: Any) -> None:
    found = world(refusal(), *[OVERLOADED] * 3, refusal=("strong",))
    played = run(found.call(found.request(FAST)))
    exchange = played.exchange
    assert (played.status, exchange.ending, exchange.error) == (200, Ending.COMPLETE, None)
    assert json.loads(played.body)["stop_reason"] == "refusal"
    assert played.headers[b"x-headgate-model"] == f"{CLAUDE}-20251001".encode()
    assert played.headers[b"x-headgate-attempts"] == b"4"
    assert sorted(attempt.number for attempt in exchange.attempts) == [1, 2, 3, 4]
    assert found.happened.count("settle") == 1


def test_of_two_refusals_the_first_comes_after_all(run: Any) -> None:
    found = world(refusal(), message("", id="msg_2", stop_reason="refusal"), refusal=("strong",))
    played = run(found.call(found.request(FAST)))
    assert (played.status, json.loads(played.body)["id"]) == (200, "msg_1")
    assert [attempt.estimated for attempt in played.exchange.attempts] == [False, False]


def test_a_stream_that_refuses_before_any_content_is_followed_by_another_models(run: Any) -> None:
    found = world(refusal_stream(), FakeAnswer(headers=((b"content-type", SSE),), pieces=message_stream("yes")),
                  refusal=("strong",))  # fmt: skip
    played = run(found.call(found.request(messages_request(model="fast", stream=True))))
    assert served(found) == [CLAUDE, OPUS]
    assert played.body.startswith(b"".join(message_stream("yes")))
    assert played.exchange.attempts[0].usage.output_tokens == 3
    assert not played.exchange.estimated


def test_a_stream_that_refuses_after_content_has_left_is_the_answer(run: Any) -> None:
    frames = message_stream("some")
    stop = event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 3})
    found = world(FakeAnswer(headers=((b"content-type", SSE),), pieces=[*frames[:4], stop, frames[-1]]),
                  refusal=("strong",))  # fmt: skip
    played = run(found.call(found.request(messages_request(model="fast", stream=True))))
    assert (served(found), played.exchange.ending) == ([CLAUDE], Ending.COMPLETE)


def test_a_refused_stream_comes_after_all_as_a_stream(run: Any) -> None:
    found = world(refusal_stream(), *[OVERLOADED] * 3, refusal=("strong",))
    played = run(found.call(found.request(messages_request(model="fast", stream=True))))
    assert played.status == 200
    assert played.headers[b"content-type"] == SSE
    assert played.body == b"".join(refusal_stream().pieces)


GPT = {"gpt": [route("openai", "gpt-6-luna")], "sol": [route("openai", "gpt-6.1-sol")]}
GPT_LISTS = Fallbacks({"gpt": {"refusal": ("sol",)}})


@pytest.mark.parametrize(
    "choice",
    [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": "I will not"},
            "finish_reason": "stop",
        },
        {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"},
    ],
)
def test_a_chats_refusal_goes_to_the_model_named_for_it(run: Any, choice: dict[str, Any]) -> None:
    found = World(completion(choices=[choice]), completion(), models=GPT, fallbacks=GPT_LISTS)
    run(found.call(found.request(chat_request(model="gpt"), dialect="openai")))
    assert served(found) == ["gpt-6-luna", "gpt-6.1-sol"]


def test_a_chat_with_several_choices_is_left_as_it_is(run: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}
    found = World(completion(choices=[choice]), models=GPT, fallbacks=GPT_LISTS)
    run(found.call(found.request(chat_request(model="gpt", n=2), dialect="openai")))
    assert served(found) == ["gpt-6-luna"]


def test_a_streamed_chats_refusal_is_read_to_its_end_for_its_bill(run: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
    said = [delta(role="assistant", content="", refusal=None), delta(refusal="I"), delta(refusal=" will not")]
    said += [delta("stop"), chunk([], usage=usage), DONE]
    answer = FakeAnswer(headers=((b"content-type", SSE),), pieces=said)
    found = World(answer, completion(), models=GPT, fallbacks=GPT_LISTS)
    played = run(found.call(found.request(chat_request(model="gpt", stream=True), dialect="openai")))
    assert served(found) == ["gpt-6-luna", "gpt-6.1-sol"]
    assert (played.exchange.attempts[0].usage.output_tokens, played.exchange.attempts[0].estimated) == (9, False)


def test_a_streamed_refusal_of_a_provider_that_counts_nothing_is_charged_by_what_it_said(run: Any) -> None:
    said = [delta(role="assistant", content=""), delta(refusal="I will not " * 40), delta("stop"), DONE]
    answer = FakeAnswer(headers=((b"content-type", SSE),), pieces=said)
    found = World(answer, completion(), models=GPT, fallbacks=GPT_LISTS)
    played = run(found.call(found.request(chat_request(model="gpt", stream=True), dialect="openai")))
    first = played.exchange.attempts[0]
    assert (served(found), first.estimated) == (["gpt-6-luna", "gpt-6.1-sol"], True)
    assert first.usage.output_tokens == 100  # at most: its cap


@pytest.mark.parametrize(("patience", "seconds"), [(None, 16.0), (6.0, 4.0)])
def test_a_refusal_that_goes_on_for_long_is_handed_on(run: Any, patience: float | None, seconds: float) -> None:
    said = [
        delta(role="assistant", content=""),
        delta(refusal="I"),
        Passed(seconds),
        delta(refusal=" will"),
        delta("stop"),
    ]
    answer = FakeAnswer(headers=((b"content-type", SSE),), pieces=[*said, DONE])
    found = World(answer, models=GPT, fallbacks=GPT_LISTS)
    request = found.request(chat_request(model="gpt", stream=True), dialect="openai")
    request.patience = patience
    played = run(found.call(request))
    assert (served(found), played.exchange.ending) == (["gpt-6-luna"], Ending.COMPLETE)
    assert b" will" in played.body


# Sessions that are tied to a model

THOUGHT = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "hi"},
    ]},
    {"role": "user", "content": "more"},
]  # fmt: skip
TOOLS = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]},
]
ADA = Caller(user="ada", session="s")


@pytest.mark.parametrize("turns", [THOUGHT, TOOLS], ids=["thinking", "tools"])
def test_a_conversation_with_thinking_or_a_tool_turn_does_not_go_to_another_model(run: Any, turns: Any) -> None:
    found = World(*[OVERLOADED] * 4, models=MODELS)
    played = run(found.call(found.request(messages_request(model="two", messages=turns))))
    assert (played.status, served(found)) == (503, [CLAUDE] * 4)


def test_a_tool_turn_that_is_over_ties_to_nothing(run: Any) -> None:
    turns = [*TOOLS, {"role": "assistant", "content": "1"}, {"role": "user", "content": "and?"}]
    found = World(*[OVERLOADED] * 2, message(), models=MODELS)
    run(found.call(found.request(messages_request(model="two", messages=turns))))
    assert served(found) == [CLAUDE, CLAUDE, SONNET]


def test_with_thinking_drop_another_model_gets_the_conversation_without_it(run: Any) -> None:
    found = World(*[OVERLOADED] * 2, message(), models=MODELS, task={"drops_thinking": True})
    run(found.call(found.request(messages_request(model="two", messages=THOUGHT))))
    assert served(found) == [CLAUDE, CLAUDE, SONNET]
    assert sent(found, 0)["messages"] == THOUGHT
    assert sent(found)["messages"][1]["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize("drops", [False, True])
def test_a_fallback_is_tied_as_other_routes_are(run: Any, drops: bool) -> None:
    found = World(
        TOO_LONG,
        message(),
        models=MODELS,
        fallbacks=Fallbacks({"fast": {"context_length": ("strong",)}}),
        task={"drops_thinking": drops},
    )
    played = run(found.call(found.request(messages_request(model="fast", messages=THOUGHT))))
    assert served(found) == ([CLAUDE, OPUS] if drops else [CLAUDE])
    assert played.status == (200 if drops else 400)
    assert b"signature" not in found.upstream.sent[-1].body or not drops


def test_a_session_stays_with_the_model_that_has_answered_it_while_it_is_tied(run: Any) -> None:
    found = World(*[OVERLOADED] * 2, message(), message(), message(), models=MODELS)
    run(found.call(found.request(messages_request(model="two"), caller=ADA)))
    assert served(found) == [CLAUDE, CLAUDE, SONNET]
    run(found.call(found.request(messages_request(model="two", messages=THOUGHT), caller=ADA)))
    assert served(found) == [SONNET]
    run(found.call(found.request(messages_request(model="two"), caller=ADA)))
    assert served(found) == [CLAUDE]


def test_a_session_stays_with_the_fallback_that_has_answered_it(run: Any) -> None:
    found = world(TOO_LONG, message(), message(), context_length=("strong",))
    run(found.call(found.request(FAST, caller=ADA)))
    assert served(found) == [CLAUDE, OPUS]
    run(found.call(found.request(messages_request(model="fast", messages=TOOLS), caller=ADA)))
    assert served(found) == [OPUS]


def test_a_session_stays_with_the_model_that_it_was_degraded_to(run: Any) -> None:
    ladder = [Step(frozenset({"overload"}), model="strong")]
    found = World(*[OVERLOADED] * 4, message(), message(), models=MODELS, ladder=ladder)
    run(found.call(found.request(FAST, caller=ADA)))
    assert served(found) == [*[CLAUDE] * 4, OPUS]
    run(found.call(found.request(messages_request(model="fast", messages=TOOLS), caller=ADA)))
    assert served(found) == [OPUS]


def test_a_session_stays_with_the_model_that_its_budget_led_to(run: Any) -> None:
    cap = 100_000_000
    budget = Budget("all/day", cap_nano=cap, every="day", degrade_to="fast")
    found = World(message(), message(), models=MODELS, budgets=[budget])
    dear = messages_request(model="strong", max_tokens=10_000)
    run(found.call(found.request(dear, caller=ADA)))
    assert (served(found), found.exchange.degraded) == ([CLAUDE], "budget all/day: fast")
    run(found.call(found.request(messages_request(model="strong", messages=TOOLS, max_tokens=10), caller=ADA)))
    assert served(found) == [CLAUDE]


def test_a_path_that_names_a_provider_keeps_to_it_whatever_has_answered_the_session(run: Any) -> None:
    found = world(TOO_LONG, message(), TOO_LONG, context_length=("strong",))
    run(found.call(found.request(FAST, caller=ADA)))
    pinned = found.request(messages_request(model="fast", messages=TOOLS), caller=ADA)
    pinned.provider = "anthropic"
    assert run(found.call(pinned)).status == 400
    assert served(found) == [CLAUDE]


def test_by_latency_the_route_that_answers_sooner_is_the_first_and_a_timeout_counts_as_long(run: Any) -> None:
    slow = UpstreamTimeout("slow", kind="timeout", retryable=True, elsewhere=True)

    def timed(seconds: float) -> FakeAnswer:
        return FakeAnswer(pieces=message(), after=seconds)

    virtual = {"two": Virtual(prefer="latency")}
    found = World(timed(3.0), timed(1.0), timed(1.0), models=MODELS, virtual=virtual, jitter=0.04)
    body = messages_request(model="two")
    order = []
    for _ in range(3):
        run(found.call(found.request(body)))
        order += served(found)
    assert order == [CLAUDE, SONNET, SONNET]
    found = World(FakeAnswer(after=60.0, pieces=[slow]), timed(1.0), models=MODELS, virtual=virtual)
    run(found.call(found.request(body)))
    router = found.engine.policies.router
    assert router.preferences is not None
    seconds = router.preferences.seconds(MODELS["two"], found.request(body), found.clock.now())
    assert seconds == [60.0, 1.0]


# Breakers


class Shut:
    """The port of turns, with the breakers of some models open."""

    def __init__(self, *models: str, clock: FakeClock) -> None:
        self.models = models
        self.clock = clock
        self.waited: list[float] = []

    async def turn(self, exchange: Exchange, attempt: Attempt, *, until: float) -> None:
        self.waited.append(until - self.clock.now())
        if attempt.route.model in self.models:
            raise NoTurn("its breaker is open", kind="open", cause="failures", retry_after=7.0)

    def blocked(self, route: Route) -> None: ...
    def answered(self, *told: object) -> None: ...
    def unsent(self, attempt: Attempt) -> None: ...
    def ended(self, exchange: Exchange, attempt: Attempt) -> None: ...
    def closed(self, exchange: Exchange) -> None: ...
    def may_retry(self, route: Route) -> bool:
        return False


def shut(found: World, *models: str) -> Shut:
    turns = Shut(*models, clock=found.clock)
    ports = replace(found.engine.ports, turns=turns)  # type: ignore[arg-type]  # as much of the port as is used here
    found.engine = Engine(ports, found.engine.policies)
    return turns


def test_where_every_route_is_shut_the_models_named_for_overload_are_gone_to_without_an_attempt(run: Any) -> None:
    found = world(message(), overload=("strong",))
    turns = shut(found, CLAUDE)
    assert run(found.call(found.request(FAST))).status == 200
    assert (served(found), found.clock.slept) == ([OPUS], [])
    assert turns.waited == [10.0, 10.0]


def test_where_those_are_shut_too_the_soonest_is_waited_for_as_without_fallbacks(run: Any) -> None:
    found = world(overload=("strong",))
    shut(found, CLAUDE, OPUS)
    played = run(found.call(found.request(FAST)))
    assert (played.status, served(found)) == (503, [])
    assert found.clock.slept
    assert set(found.clock.slept) == {7.0}


def test_a_retry_budget_that_is_used_up_does_not_keep_a_long_prompt_from_a_larger_window(run: Any) -> None:
    found = world(TOO_LONG, message(), context_length=("strong",))
    shut(found)
    assert run(found.call(found.request(FAST))).status == 200
    assert served(found) == [CLAUDE, OPUS]


@pytest.mark.parametrize("provider", ["openai", "other"])
def test_what_an_sdk_says_of_its_account_does_not_go_with_a_key_of_ours(run: Any, provider: str) -> None:
    there = replace(route("openai", "gpt-6-luna"), provider=provider)
    found = World(completion(), models={"gpt": [there]}, ceiling_pico=1)
    names = {b"openai-organization", b"openai-project"}
    headers = [(b"openai-beta", b"x"), *((name, b"its own") for name in sorted(names))]
    run(found.call(found.request(chat_request(model="gpt"), dialect="openai", headers=headers)))
    gone_out = {name for name, _ in found.upstream.sent[0].headers}
    assert not names & gone_out
    assert b"openai-beta" in gone_out
