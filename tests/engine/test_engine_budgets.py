"""Money before an attempt: what is held, refused, counted, capped, degraded; what a refusal says and costs."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, UpstreamBroken
from headgate.core.exchange import Ending, Route
from headgate.policy.budgets import Account
from headgate.policy.charging import Charging
from headgate.policy.holding import Ask
from headgate.policy.pricebook import PriceBook
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, Played, World
from headgate.testing.canned import CLAUDE, GPT, JSON, completion, message, messages_request
from headgate.testing.fakes import route

USD = 10**9
MUCH = Budget("all/day", cap_nano=100 * USD, every="day")
NOTHING = Budget("user/day", ("user",), cap_nano=0, every="day")
ADA = Caller(user="ada", tenant="acme")


UNCAPPED = json.dumps({"model": GPT, "messages": [{"role": "user", "content": "hello"}]}).encode()


def said(played: Played) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(played.pieces))
    return found


def code(played: Played) -> str:
    return str(said(played)["headgate"]["code"])


def held(world: World) -> list[int]:
    claims = world.engine.policies.budgets.claims(ADA, Route("", "", "", ""), "", world.clock.time)
    return [balance.held_nano for balance in world.ledger.accounts.balances(claims)]


def test_a_call_that_fits_holds_its_bound_and_is_charged_its_cost(play: Any) -> None:
    world = World(message("hi"), budgets=[MUCH])
    played = play(world)
    assert played.status == 200
    attempt = world.exchange.attempts[0]
    assert attempt.bound_nano > attempt.cost_nano > 0
    claims = world.engine.policies.budgets.claims(Caller(), attempt.route, "", world.clock.time)
    (balance,) = world.ledger.accounts.balances(claims)
    assert (balance.spent_nano, balance.held_nano) == (attempt.cost_nano, 0)
    left = played.headers[b"x-headgate-budget-left-usd"]
    assert left == f"{(100 * USD - attempt.cost_nano) / USD:.9f}".rstrip("0").encode()


def test_a_call_that_does_not_fit_is_refused_before_anything_is_sent(play: Any) -> None:
    world = World(message("hi"), budgets=[NOTHING])
    played = play(world, caller=ADA)
    assert (played.status, code(played)) == (429, "budget_exceeded")
    assert played.headers[b"x-should-retry"] == b"false"
    assert "user/day (ada)" in said(played)["error"]["message"]
    assert world.happened == ["settle"]
    assert (world.exchange.ending, world.exchange.attempts) == (Ending.REFUSED, [])
    assert world.ledger.flushes == 1


@pytest.mark.parametrize("per", [(), ("model",), ("task", "provider"), ("tag:team",)])
def test_a_budget_that_is_shared_with_others_tells_a_caller_no_figures(play: Any, per: tuple[str, ...]) -> None:
    caller = Caller(user="ada", task="sum", tags=MappingProxyType({"team": "red"}))
    world = World(message("hi"), budgets=[Budget("b/day", per, cap_nano=3, every="day")])
    told = said(play(world, caller=caller))["error"]["message"]
    assert "the budget b/day" in told
    assert "$" not in told


@pytest.mark.parametrize("per", [("user",), ("model", "user")])
def test_one_of_its_own_does(play: Any, per: tuple[str, ...]) -> None:
    world = World(message("hi"), budgets=[Budget("b/day", per, cap_nano=3, every="day")])
    assert "$0 of $0.000000003 spent" in said(play(world, caller=ADA))["error"]["message"]


def test_the_status_of_a_refusal_is_the_configurations(play: Any) -> None:
    world = World(message("hi"), budgets=[NOTHING], budget_status=402)
    assert play(world, caller=ADA).status == 402


def test_a_budget_whose_dimension_the_call_lacks_refuses_nothing(play: Any) -> None:
    assert play(World(message("hi"), budgets=[NOTHING]), caller=Caller(tenant="acme")).status == 200


def test_a_failed_attempt_that_may_have_been_billed_is_charged_and_the_next_one_holds_anew(play: Any) -> None:
    lost = UpstreamBroken("lost", kind="broken", retryable=True, maybe_billed=True)
    world = World(lost, message("hi"), budgets=[MUCH])
    assert play(world, caller=ADA).status == 200
    first, second = world.exchange.attempts
    assert first.estimated
    assert first.cost_nano == first.bound_nano
    claims = world.engine.policies.budgets.claims(ADA, second.route, "", world.clock.time)
    (balance,) = world.ledger.accounts.balances(claims)
    assert (balance.spent_nano, balance.held_nano) == (first.cost_nano + second.cost_nano, 0)


def test_a_retry_for_which_no_money_is_left_is_refused(play: Any) -> None:
    lost = UpstreamBroken("lost", kind="broken", retryable=True, maybe_billed=True)
    probe = World(message("hi"), budgets=[MUCH])
    play(probe)
    bound = probe.exchange.attempts[0].bound_nano
    world = World(lost, message("hi"), budgets=[Budget("all/day", cap_nano=bound + 1, every="day")])
    played = play(world)
    assert (played.status, code(played)) == (429, "budget_exceeded")
    assert world.happened.count("send") == 1
    assert [attempt.cost_nano for attempt in world.exchange.attempts] == [bound]


def test_an_attempt_that_cannot_have_been_billed_gives_its_hold_back_while_the_next_is_waited_for(play: Any) -> None:
    refused = UpstreamBroken("no connection", kind="connect", retryable=True)
    world = World(refused, message("hi"), budgets=[MUCH])
    seen = []

    async def look() -> None:
        seen.append(held(world))

    world.clock.on_sleep = look
    assert play(world, caller=ADA).status == 200
    assert seen == [[0]]


def test_an_output_cap_is_put_in_where_the_caller_gave_none(play: Any) -> None:
    world = World(completion("hi"), budgets=[MUCH])
    assert play(world, UNCAPPED, dialect="openai").status == 200
    sent = json.loads(world.upstream.sent[0].body)
    assert sent.pop("max_completion_tokens") > 1_000
    assert sent == json.loads(UNCAPPED)


def test_without_a_budget_the_callers_bytes_stay_as_they_are(play: Any) -> None:
    world = World(completion("hi"))
    play(world, UNCAPPED, dialect="openai")
    assert world.upstream.sent[0].body == UNCAPPED


def test_what_cannot_be_bounded_is_refused_under_a_budget_and_sent_without_one(play: Any) -> None:
    body = messages_request(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    played = play(World(message("hi"), budgets=[MUCH]), body)
    assert (played.status, code(played)) == (400, "unbounded")
    assert play(World(message("hi")), body).status == 200


def test_it_is_held_at_its_ceiling_where_the_configuration_says_so(play: Any) -> None:
    body = messages_request(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    world = World(message("hi"), budgets=[MUCH], unbounded_ceiling=True)
    assert play(world, body).status == 200
    assert world.ledger.intents[0][2] > USD


def test_a_path_without_a_price_is_refused_under_a_budget_and_looking_is_not(play: Any) -> None:
    world = World(FakeAnswer(200, ((b"content-type", JSON),), [b"{}"]), budgets=[MUCH])
    played = play(world, b"{}", path="/v1/skills")
    assert (played.status, code(played)) == (400, "unpriced")
    assert play(world, b"", path="/v1/skills", method="GET").status == 200


def test_one_call_may_not_cost_more_than_its_ceiling(play: Any) -> None:
    played = play(World(message("hi"), most_nano=10))
    assert (played.status, code(played)) == (400, "call_too_expensive")
    assert play(World(message("hi"), most_nano=USD)).status == 200


def test_the_attempts_of_one_call_count_together_towards_its_ceiling(play: Any) -> None:
    lost = UpstreamBroken("lost", kind="broken", retryable=True, maybe_billed=True)
    probe = World(message("hi"), most_nano=USD)
    play(probe)
    bound = probe.exchange.attempts[0].bound_nano
    world = World(lost, message("hi"), most_nano=bound + 1)
    assert code(play(world)) == "call_too_expensive"
    assert world.happened.count("send") == 1


LONG = messages_request(messages=[{"role": "user", "content": "a long story, told again and again. " * 400}])


def bounds(body: bytes) -> int:
    probe = World(message("hi"), budgets=[MUCH])
    probe.request(body)
    request = probe.request(body)
    bound = probe.engine.policies.charges.bound(route("anthropic", CLAUDE), request.facts, len(body), probe.clock.time)
    assert bound is not None
    return bound.nano


def counted(tokens: int) -> FakeAnswer:
    return FakeAnswer(200, ((b"content-type", JSON),), [json.dumps({"input_tokens": tokens}).encode()])


def test_near_a_cap_the_provider_is_asked_to_count_and_the_call_passes_where_the_truth_fits(play: Any) -> None:
    cap = bounds(LONG) * 2 // 3
    world = World(counted(3_000), message("hi"), budgets=[Budget("all/day", cap_nano=cap, every="day")])
    assert play(world, LONG).status == 200
    count, call = world.upstream.sent
    assert count.url.endswith("/v1/messages/count_tokens")
    assert set(json.loads(count.body)) == {"model", "messages"}
    assert call.body == LONG
    assert world.exchange.attempts[0].bound_nano <= cap
    assert len(world.exchange.attempts) == 1


@pytest.mark.parametrize(
    "answer",
    [
        counted(30_000),
        FakeAnswer(429),
        FakeAnswer(200, (), [b"nonsense"]),
        FakeAnswer(200, (), [b"[" * 30_000]),
        UpstreamBroken("lost", kind="broken"),
    ],
)
def test_a_count_that_does_not_fit_or_never_comes_changes_nothing(play: Any, answer: Any) -> None:
    cap = bounds(LONG) * 2 // 3
    world = World(answer, message("hi"), budgets=[Budget("all/day", cap_nano=cap, every="day")])
    assert code(play(world, LONG)) == "budget_exceeded"
    assert len(world.upstream.sent) == 1


def test_nothing_is_counted_where_even_the_shortest_prompt_would_not_fit(play: Any) -> None:
    world = World(message("hi"), budgets=[Budget("all/day", cap_nano=1_000, every="day")])
    assert code(play(world, LONG)) == "budget_exceeded"
    assert world.upstream.sent == []


MODELS = {"fast": [route("anthropic", "claude-haiku-5-5")], "gone": []}


def test_a_budget_degrades_to_its_model_where_the_asked_one_does_not_fit(play: Any) -> None:
    cap = bounds(messages_request()) // 5
    budget = Budget("all/day", cap_nano=cap, every="day", degrade_to="fast")
    world = World(message("hi"), budgets=[budget], models=MODELS)
    played = play(world)
    assert played.status == 200
    assert json.loads(world.upstream.sent[0].body)["model"] == "claude-haiku-5-5"
    assert played.headers[b"x-headgate-degraded"] == b"budget all/day: fast"
    assert [a.route.model for a in world.exchange.attempts] == ["claude-haiku-5-5"]


def test_the_cap_stays_hard_where_the_cheaper_model_does_not_fit_either(play: Any) -> None:
    budget = Budget("all/day", cap_nano=10, every="day", degrade_to="fast")
    world = World(message("hi"), budgets=[budget], models=MODELS)
    assert code(play(world)) == "budget_exceeded"
    assert world.upstream.sent == []


def test_it_degrades_to_no_model_of_another_dialect(play: Any) -> None:
    budget = Budget("all/day", cap_nano=10, every="day", degrade_to="gone")
    assert code(play(World(message("hi"), budgets=[budget], models=MODELS))) == "budget_exceeded"


def test_who_waited_until_the_period_was_over_asks_in_the_next_one_though_our_clock_is_behind(play: Any) -> None:
    world = World(message("hi"), budgets=[MUCH])
    intend, starts = world.ledger.intend, []

    async def over(exchange: Any, attempt: Any, **more: Any) -> None:
        (claim,) = attempt.claims
        starts.append(claim.start)
        if len(starts) == 1:
            raise BudgetExceeded("over", claim=claim, why="period")
        await intend(exchange, attempt, **more)

    world.ledger.intend = over  # type: ignore[method-assign]  # a spy
    assert play(world).status == 200
    assert starts == [starts[0], starts[0] + 86_400]


def test_and_in_that_of_the_ledgers_newest_call_where_the_clock_was_set_back_by_days(play: Any) -> None:
    world = World(message("hi"), budgets=[MUCH])
    intend, starts = world.ledger.intend, []

    async def behind(exchange: Any, attempt: Any, **more: Any) -> None:
        (claim,) = attempt.claims
        starts.append(claim.start)
        if len(starts) == 1:
            raise BudgetExceeded("over", claim=claim, why="period", not_before=claim.start + 5.5 * 86_400)
        await intend(exchange, attempt, **more)

    world.ledger.intend = behind  # type: ignore[method-assign]  # a spy
    assert play(world).status == 200
    assert starts == [starts[0], starts[0] + 5 * 86_400]


WITH_DEGRADE = Budget("all/day", cap_nano=100 * USD, every="day", degrade_to="fast")


def held_by_another(world: World, budget: Budget) -> list[bool]:
    """Another call holds all of ada's; it settles once somebody waits. Returns what is told of waiting."""
    told: list[bool] = []
    ledger, accounts = world.ledger, world.ledger.accounts
    intend = ledger.intend
    claim = next(
        c for c in world.engine.policies.budgets.claims(ADA, Route("", "", "", ""), "", world.clock.time) if c.scope
    )
    accounts.load(claim.key, 0, Account())
    accounts.ask(Ask("other", 1, (claim,), budget.cap_nano or 0, 0))
    accounts.outcomes()

    async def look(exchange: Any, attempt: Any, *, until: float = 0.0, may_wait: bool = True) -> None:
        told.append(may_wait)
        if may_wait:
            accounts.close("other", 1, 0, 0)
        await intend(exchange, attempt, until=until, may_wait=may_wait)

    ledger.intend = look  # type: ignore[method-assign]  # a spy
    return told


def test_a_call_waits_for_money_of_a_budget_that_degrades_nothing_though_another_one_does(play: Any) -> None:
    hers = Budget("user/day", ("user",), cap_nano=bounds(messages_request()), every="day")
    world = World(message("hi"), budgets=[WITH_DEGRADE, hers], models=MODELS)
    told = held_by_another(world, hers)
    played = play(world, caller=ADA)
    assert (played.status, told) == (200, [False, True])
    assert b"x-headgate-degraded" not in played.headers


@pytest.mark.parametrize("to", ["gone", CLAUDE])
def test_so_does_a_call_whose_budget_has_no_other_model_for_it(play: Any, to: str) -> None:
    bound = bounds(messages_request())
    hers = Budget("user/day", ("user",), cap_nano=bound, every="day", degrade_to=to)
    world = World(message("hi"), budgets=[hers], models=MODELS)
    told = held_by_another(world, hers)
    played = play(world, caller=ADA)
    assert (played.status, told) == (200, [False, True])
    assert b"x-headgate-degraded" not in played.headers


def test_a_retry_of_a_degraded_call_stays_with_its_model(play: Any) -> None:
    refused = UpstreamBroken("no connection", kind="connect", retryable=True)
    cap = bounds(messages_request()) // 5
    budget = Budget("all/day", cap_nano=cap, every="day", degrade_to="fast")
    world = World(refused, message("hi"), budgets=[budget], models=MODELS, recovery=Recovery(attempts=3))
    assert play(world).status == 200
    assert [a.route.model for a in world.exchange.attempts] == ["claude-haiku-5-5"] * 2


def test_after_a_count_in_vain_no_other_is_asked_for_until_a_second_has_passed(play: Any) -> None:
    cap = bounds(LONG) * 2 // 3
    world = World(counted(30_000), counted(30_000), budgets=[Budget("all/day", cap_nano=cap, every="day")])
    for seconds, counts in ((0.0, 1), (0.5, 1), (0.6, 2)):
        world.clock.time += seconds
        assert code(play(world, LONG)) == "budget_exceeded"
        assert len(world.upstream.sent) == counts


def token_bound(body: bytes) -> int:
    probe = World(message("hi"), budgets=[MUCH])
    request = probe.request(body)
    bound = probe.engine.policies.charges.bound(route("anthropic", CLAUDE), request.facts, len(body), probe.clock.time)
    assert bound is not None
    return bound.tokens


def test_near_a_cap_in_tokens_the_provider_is_asked_to_count_as_near_one_in_dollars(play: Any) -> None:
    cap = token_bound(LONG) * 2 // 3
    world = World(counted(3_000), message("hi"), budgets=[Budget("all/day", cap_tokens=cap, every="day")])
    assert play(world, LONG).status == 200
    assert [sent.url.endswith("/count_tokens") for sent in world.upstream.sent] == [True, False]
    assert world.exchange.attempts[0].bound_tokens <= cap


def test_nothing_is_counted_where_dollars_are_left_and_no_tokens(play: Any) -> None:
    budget = Budget("all/day", cap_nano=100 * USD, cap_tokens=100, every="day")
    world = World(counted(3_000), budgets=[budget])
    assert code(play(world, LONG)) == "budget_exceeded"
    assert world.upstream.sent == []


def test_a_count_that_helps_with_one_budget_and_not_with_the_next_is_followed_by_a_pause(play: Any) -> None:
    near = Budget("all/day", cap_tokens=token_bound(LONG) * 2 // 3, every="day")
    world = World(*[counted(3_000)] * 5, budgets=[near, NOTHING])
    for _ in range(5):
        assert code(play(world, LONG, caller=ADA)) == "budget_exceeded"
    assert len(world.upstream.sent) == 1


def test_whom_the_next_budget_does_not_apply_to_has_no_part_in_that_pause(play: Any) -> None:
    near = Budget("all/day", cap_tokens=token_bound(LONG) * 2 // 3, every="day")
    world = World(counted(3_000), counted(3_000), message("hi"), budgets=[near, NOTHING])
    assert code(play(world, LONG, caller=ADA)) == "budget_exceeded"
    assert play(world, LONG).status == 200


def test_calls_above_the_ceiling_of_one_call_have_no_prompt_counted_each(play: Any) -> None:
    world = World(*[counted(30_000)] * 5, most_nano=bounds(LONG) * 2 // 3)
    for _ in range(5):
        assert code(play(world, LONG, caller=ADA)) == "call_too_expensive"
    assert len(world.upstream.sent) == 1


def test_a_charge_that_fails_inside_costs_the_bound_and_leaves_nothing_held(play: Any) -> None:
    class Broken(Charging):
        def charge(self, *_: Any) -> Any:
            raise ZeroDivisionError

        ordinary = charge

    world = World(message("hi"), budgets=[MUCH], charges=Broken(PriceBook.load()))
    assert play(world, caller=ADA).status == 200
    (attempt,) = world.exchange.attempts
    assert (attempt.cost_nano, attempt.estimated, attempt.price_version) == (attempt.bound_nano, True, "bound")
    assert held(world) == [0]
    assert [name for name, _ in world.log.events] == ["charge_failed"]
