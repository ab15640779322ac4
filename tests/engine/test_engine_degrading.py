"""Down the ladder: another model, a sentence, a substitute; what is told, what is charged, how the exchange ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRejected
from headgate.core.exchange import Ending, Exchange
from headgate.core.ports import Substitute
from headgate.policy.ladder import PROVIDERS, Step
from headgate.policy.recovery import Recovery
from headgate.testing import Played, World
from headgate.testing.canned import CLAUDE, GPT, chat_request, message, message_stream, messages_request
from headgate.testing.fakes import route
from headgate.wire import DIALECTS

BREAK = "The assistant is taking a short break."
SAY = Step(frozenset(PROVIDERS), say=BREAK)
FAST = Step(frozenset({"overload", "timeout", "server"}), model="fast")
MODELS = {"fast": [route("acme", CLAUDE)], "other": [route("anthropic", CLAUDE)]}
CEILING = 100_000
ONCE = Recovery(attempts=1)
OPUS = "claude-opus-4-5"


def busy() -> UpstreamBusy:
    return UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True)


def broken() -> UpstreamBroken:
    return UpstreamBroken("broken", kind="server", retryable=True, elsewhere=True, maybe_billed=True)


def ask(world: World, **more: Any) -> Any:
    return world.request(messages_request(model=OPUS, **more))


def test_another_model_answers_when_all_routes_of_the_first_have_failed(run: Any) -> None:
    world = World(busy(), busy(), message(), models=MODELS, recovery=Recovery(attempts=2), ladder=[FAST, SAY],
                  ceiling_pico=CEILING)  # fmt: skip
    played: Played = run(world.call(ask(world)))
    assert played.status == 200
    assert played.headers[b"x-headgate-degraded"] == b"overload: fast"
    assert [(a.route.provider, a.route.model) for a in played.exchange.attempts] == [
        ("anthropic", OPUS),
        ("anthropic", OPUS),
        ("acme", CLAUDE),
    ]
    assert (played.exchange.ending, played.exchange.error) == (Ending.COMPLETE, None)
    assert played.exchange.cost_nano > 0


def test_the_first_model_is_tried_as_often_as_without_a_ladder(run: Any) -> None:
    world = World(*[busy()] * 4, message(), models=MODELS, ladder=[FAST], ceiling_pico=CEILING)
    assert run(world.call(ask(world))).status == 200
    assert [a.route.provider for a in world.exchange.attempts] == ["anthropic"] * 4 + ["acme"]


def test_a_sentence_is_said_when_no_model_has_answered(run: Any) -> None:
    world = World(busy(), broken(), models=MODELS, recovery=ONCE, ladder=[FAST, SAY], ceiling_pico=CEILING)
    played: Played = run(world.call(ask(world)))
    answer, text = DIALECTS["anthropic"].read_answer("messages", played.body, keep_text=True)
    assert (played.status, text, answer.stop_reason) == (200, BREAK, "end_turn")
    assert played.headers[b"x-headgate-degraded"] == b"server: say"
    assert b"x-headgate-model" not in played.headers
    assert played.headers[b"x-headgate-attempts"] == b"2"


def test_a_sentence_ends_its_exchange_as_the_failure_it_was(run: Any) -> None:
    world = World(broken(), recovery=ONCE, ladder=[SAY])
    run(world.call())
    exchange = world.exchange
    assert exchange is not None
    assert exchange.error is not None
    assert (exchange.ending, exchange.status, exchange.degraded) == (Ending.FAILED, 200, "server: say")
    assert isinstance(exchange.error, UpstreamBroken)
    assert len(world.ledger.settled) == len(world.log.written) == 1
    assert exchange.cost_nano == exchange.attempts[0].bound_nano  # the attempt may have been billed all the same


def test_a_streaming_caller_gets_the_sentence_as_a_stream(run: Any, dialect: str) -> None:
    world = World(busy(), recovery=ONCE, ladder=[SAY])
    request = world.request(dialect=dialect, stream=True)
    played: Played = run(world.call(request))
    meter = DIALECTS[dialect].meter(request.endpoint, request.facts, keep_text=True)
    assert meter.feed(played.body)
    assert meter.ended
    assert meter.text() == BREAK
    assert played.headers[b"content-type"].startswith(b"text/event-stream")
    assert played.body.endswith(b"x-headgate-cost-usd=0 x-headgate-degraded=overload:say\n\n")


def test_steps_for_other_classes_are_passed_over(run: Any) -> None:
    world = World(busy(), recovery=ONCE, ladder=[Step(frozenset({"auth"}), say="no key"), SAY])
    assert BREAK.encode() in run(world.call()).body


def test_without_a_step_for_it_the_caller_is_told_what_went_wrong_first(run: Any) -> None:
    dead = UpstreamRejected("no money", kind="money", elsewhere=True)
    world = World(busy(), dead, models=MODELS, recovery=ONCE, ladder=[FAST], ceiling_pico=CEILING)
    played: Played = run(world.call(ask(world)))
    assert isinstance(played.error, UpstreamError)
    assert played.error.kind == "busy"
    assert b"x-headgate-degraded" not in played.headers
    assert (world.exchange.ending, len(world.exchange.attempts)) == (Ending.FAILED, 2)


def test_a_model_without_a_price_is_refused_and_not_degraded(run: Any) -> None:
    world = World(ladder=[SAY])
    played = run(world.call(world.request(messages_request(model="nobody-knows-it"))))
    assert (played.status, world.exchange.ending) == (400, Ending.REFUSED)
    assert b"unknown_price" in played.body


def test_the_callers_own_mistake_passes_as_the_provider_tells_it(run: Any) -> None:
    wrong = UpstreamRejected("no", kind="caller", status=400, body=b"their words")
    played = run(World(wrong, ladder=[SAY]).call())
    assert (played.status, played.body) == (400, b"their words")


def test_a_prompt_that_is_too_long_degrades_only_where_that_is_asked_for(run: Any) -> None:
    def long() -> UpstreamRejected:
        return UpstreamRejected("long", kind="too_long", status=400, body=b"too long")

    assert run(World(long(), ladder=[SAY]).call()).body == b"too long"
    larger = Step(frozenset({"context_length"}), model="fast")
    world = World(long(), message("all of it"), models=MODELS, ladder=[larger], ceiling_pico=CEILING)
    played = run(world.call(ask(world)))
    assert played.headers[b"x-headgate-degraded"] == b"context_length: fast"


def test_a_model_whose_price_nobody_knows_is_passed_over(run: Any) -> None:
    models = {"fast": [route("acme", "mystery")]}
    world = World(busy(), models=models, recovery=ONCE, ladder=[FAST, SAY])
    assert BREAK.encode() in run(world.call()).body
    assert len(world.exchange.attempts) == 1


def test_a_route_that_has_failed_already_is_not_tried_again(run: Any) -> None:
    step = replace(FAST, model="other")
    world = World(busy(), models=MODELS, recovery=ONCE, ladder=[step, SAY])
    assert BREAK.encode() in run(world.call()).body
    assert len(world.exchange.attempts) == 1


def test_after_the_deadline_no_other_model_is_tried_but_a_sentence_is_said(run: Any) -> None:
    async def late() -> None:
        world.clock.time += 200
        raise broken()

    world = World(late, models=MODELS, recovery=ONCE, ladder=[FAST, SAY], ceiling_pico=CEILING)
    assert BREAK.encode() in run(world.call(ask(world))).body
    assert len(world.exchange.attempts) == 1


def test_state_that_a_provider_keeps_is_not_taken_to_another_model(run: Any) -> None:
    world = World(busy(), models=MODELS, recovery=ONCE, ladder=[FAST, SAY], ceiling_pico=CEILING)
    request = ask(world)
    request.facts.state = ("resp_1",)
    assert BREAK.encode() in run(world.call(request)).body


def test_a_path_that_names_its_provider_is_not_answered_by_another(run: Any) -> None:
    world = World(busy(), models=MODELS, recovery=ONCE, ladder=[FAST, SAY], ceiling_pico=CEILING)
    request = ask(world)
    request.provider = "anthropic"
    assert BREAK.encode() in run(world.call(request)).body


# Budgets


NOTHING = Budget("user/day", ("user",), cap_nano=0, every="day")


def test_an_exhausted_budget_has_its_sentence_where_one_is_written_for_it(run: Any) -> None:
    step = Step(frozenset({"budget"}), say="That was all for today.")
    world = World(budgets=[NOTHING], ladder=[step])
    played: Played = run(world.call(world.request(caller=Caller(user="ada"))))
    assert (played.status, played.headers[b"x-headgate-degraded"]) == (200, b"budget: say")
    assert b"That was all for today." in played.body
    assert (world.exchange.ending, world.exchange.status) == (Ending.REFUSED, 200)
    assert isinstance(world.exchange.error, BudgetExceeded)
    assert world.ledger.flushes == 1  # no intent row stands for it


def test_any_is_not_for_budgets(run: Any) -> None:
    played = run((world := World(budgets=[NOTHING], ladder=[SAY])).call(world.request(caller=Caller(user="ada"))))
    assert played.status == 429


def test_where_the_other_model_does_not_fit_the_budget_the_next_step_is_taken(run: Any) -> None:
    world = World(busy(), models=MODELS, recovery=ONCE, ladder=[FAST, SAY], ceiling_pico=10**12,
                  budgets=[Budget("all/day", cap_nano=10**9, every="day")])  # fmt: skip
    played: Played = run(world.call(ask(world)))
    assert BREAK.encode() in played.body
    assert played.headers[b"x-headgate-degraded"] == b"overload: say"
    assert world.exchange.ending is Ending.FAILED


def test_held_money_is_back_when_a_sentence_was_said(run: Any) -> None:
    world = World(busy(), recovery=ONCE, ladder=[SAY], budgets=[Budget("all/day", cap_nano=10**9, every="day")])
    run(world.call())
    claims = world.exchange.attempts[0].claims
    (balance,) = world.ledger.accounts.balances(claims)
    assert (balance.held_nano, balance.spent_nano) == (0, 0)


# Substitutes


class Remembered:
    """What the cache will be."""

    def __init__(self, found: Substitute | None) -> None:
        self.found = found
        self.why = ""

    async def find(self, exchange: Exchange, why: str) -> Substitute | None:
        self.why = why
        return self.found


def with_substitutes(world: World, **known: Remembered) -> World:
    engine = world.engine
    ports = replace(engine.ports, substitutes=known)
    world.engine = type(engine)(ports, engine.policies)
    return world


LAST_GOOD = Step(frozenset(PROVIDERS), use="last_good")


def test_a_substitute_stands_in_as_it_was_found(run: Any) -> None:
    remembered = Remembered(Substitute(200, [(b"content-type", b"application/json")], b'{"from": "before"}'))
    world = with_substitutes(World(busy(), recovery=ONCE, ladder=[LAST_GOOD, SAY]), last_good=remembered)
    played: Played = run(world.call())
    assert (played.body, remembered.why) == (b'{"from": "before"}', "overload")
    assert played.headers[b"x-headgate-degraded"] == b"overload: last good answer"


def test_a_substitute_that_is_not_there_leaves_it_to_the_next_step(run: Any) -> None:
    for known in ({"last_good": Remembered(None)}, {}):
        world = with_substitutes(World(busy(), recovery=ONCE, ladder=[LAST_GOOD, SAY]), **known)
        assert BREAK.encode() in run(world.call()).body


# What it costs those who do not use it


def test_an_answer_that_comes_says_nothing_of_a_ladder(run: Any) -> None:
    world = World(message_stream(), ladder=[FAST, SAY])
    played = run(world.call(world.request(stream=True)))
    assert b"x-headgate-degraded" not in played.headers
    assert world.exchange.degraded == ""


def test_a_sentence_has_as_many_choices_as_were_asked_for(run: Any) -> None:
    world = World(busy(), recovery=ONCE, ladder=[SAY])
    body = chat_request(model=GPT, n=2)
    played = run(world.call(world.request(body, dialect="openai")))
    assert len(json.loads(played.body)["choices"]) == 2
