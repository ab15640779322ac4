"""Who sees answers: complete ones only, as the caller got them; and the last good one in place of a failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBusy
from headgate.core.exchange import Ending, Exchange
from headgate.core.guards import Finding, Verdict
from headgate.core.ports import Substitute
from headgate.policy.ladder import PROVIDERS, Step
from headgate.policy.recovery import Recovery
from headgate.stores.last_good import LastGood
from headgate.testing import World
from headgate.testing.canned import chat_request, completion_stream, message, message_stream, messages_request

ONCE = Recovery(attempts=1)
LADDER = [Step(frozenset(PROVIDERS), use="last_good"), Step(frozenset(PROVIDERS), say="A short break.")]
DAY = 86_400.0


class Seeing:
    """A witness of everything."""

    def __init__(self) -> None:
        self.answers: list[Substitute] = []

    def wants(self, exchange: Exchange) -> bool:
        return True

    def saw(self, exchange: Exchange, answer: Substitute) -> None:
        assert exchange.ending is Ending.COMPLETE
        self.answers.append(answer)


def busy() -> UpstreamBusy:
    return UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True)


def watched(world: World, *, per_user: bool = False, used: Any = lambda task: True) -> tuple[Seeing, LastGood]:
    seeing = Seeing()
    kept = LastGood(used, keep_seconds=DAY, most_bytes=1 << 20, per_user=per_user, now=world.clock.now)
    ports = replace(world.engine.ports, witnesses=(seeing, kept), substitutes={"last_good": kept})
    world.engine = type(world.engine)(ports, world.engine.policies)
    return seeing, kept


def test_a_whole_answer_is_seen_as_the_caller_got_it(run: Any) -> None:
    world = World(message("hello"))
    seeing, _ = watched(world)
    played = run(world.call())
    (answer,) = seeing.answers
    assert answer.body == played.body
    assert not [name for name, _ in answer.headers if name.startswith(b"x-headgate-")]


def test_a_stream_is_seen_without_our_comment_behind_it(run: Any, dialect: str) -> None:
    world = World(message_stream() if dialect == "anthropic" else completion_stream())
    seeing, _ = watched(world)
    played = run(world.call(world.request(dialect=dialect, stream=True)))
    (answer,) = seeing.answers
    assert played.body.startswith(answer.body)
    assert played.body[len(answer.body) :].startswith(b": x-headgate-exchange=")


def test_a_failure_and_a_truncated_answer_are_seen_by_nobody(run: Any) -> None:
    world = World(busy(), recovery=ONCE)
    seeing, _ = watched(world)
    run(world.call())
    assert seeing.answers == []
    world = World([message("x")[0].replace(b"end_turn", b"max_tokens")])
    seeing, _ = watched(world)
    assert run(world.call()).status == 200
    assert seeing.answers == []


def test_a_stream_that_its_caller_leaves_is_seen_by_nobody(run: Any) -> None:
    world = World(message_stream())
    seeing, _ = watched(world)

    async def leave() -> None:
        reply = await world.engine.open(world.engine.begin(world.request(stream=True)))
        await reply.read()
        reply.close()

    run(leave())
    assert seeing.answers == []


def test_a_sentence_of_ours_is_seen_by_nobody(run: Any) -> None:
    world = World(busy(), recovery=ONCE, ladder=LADDER)
    seeing, _ = watched(world)
    assert b"A short break." in run(world.call()).body
    assert seeing.answers == []


def test_a_guards_own_call_is_seen_by_nobody(run: Any) -> None:
    world = World(message("hello"))
    seeing, _ = watched(world)
    run(world.call(replace(world.request(), of_guard="judge")))
    assert seeing.answers == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_good_answer_stands_in_and_costs_nothing(run: Any, stream: bool) -> None:
    good = message_stream() if stream else message("hello")
    world = World(good, busy(), recovery=ONCE, ladder=LADDER)
    _, kept = watched(world)
    first = run(world.call(world.request(stream=stream)))
    world.clock.time += 90
    second = run(world.call(world.request(stream=stream)))
    comment = b": x-headgate-exchange="
    assert second.body.partition(comment)[0] == first.body.partition(comment)[0]
    assert second.status == 200
    assert second.headers[b"x-headgate-degraded"] == b"overload: last good answer"
    assert second.headers[b"age"] == b"90"
    assert (second.exchange.ending, second.exchange.cost_nano) == (Ending.FAILED, 0)
    assert kept.kept.stats().entries == 1


def test_it_is_the_latest_one(run: Any) -> None:
    world = World(message("first"), message("second"), busy(), recovery=ONCE, ladder=LADDER)
    watched(world)
    run(world.call())
    run(world.call())
    assert b"second" in run(world.call()).body


def test_it_goes_away_when_its_time_is_over(run: Any) -> None:
    world = World(message("hello"), busy(), recovery=ONCE, ladder=LADDER)
    watched(world)
    run(world.call())
    world.clock.time += DAY
    assert b"A short break." in run(world.call()).body


@pytest.mark.parametrize(
    "other",
    [
        {"caller": Caller(tenant="globex", key="k")},
        {"caller": Caller(tenant="acme", key="other")},
        {"caller": Caller(tenant="acme", key="k", task="other")},
        {"headers": ((b"anthropic-beta", b"context-1m"),)},
        {"body": messages_request(system="something else")},
        {"stream": True},
    ],
    ids=["tenant", "key", "task", "header", "body", "stream"],
)
def test_nobody_gets_what_was_said_to_another_or_to_something_else(run: Any, other: dict[str, Any]) -> None:
    world = World(message("for acme"), busy(), recovery=ONCE, ladder=LADDER)
    watched(world)
    whose = {"caller": Caller(tenant="acme", key="k")}
    assert b"for acme" in run(world.call(world.request(**whose))).body
    assert b"for acme" not in run(world.call(world.request(**{**whose, **other}))).body


def test_the_order_of_keys_in_the_body_changes_nothing(run: Any) -> None:
    world = World(message("hello"), busy(), recovery=ONCE, ladder=LADDER)
    watched(world)
    told = b'"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]'
    first, second, third = told.split(b", ", 2)
    run(world.call(world.request(b"{" + b", ".join((first, second, third)) + b"}")))
    played = run(world.call(world.request(b"{" + b",".join((third, second, first)) + b"}")))
    assert played.headers[b"x-headgate-degraded"] == b"overload: last good answer"


@pytest.mark.parametrize(("user", "same"), [("ada", True), ("bob", False), ("", False)])
def test_with_per_user_each_users_answers_are_only_that_users(run: Any, user: str, same: bool) -> None:
    world = World(message("for ada"), busy(), recovery=ONCE, ladder=LADDER)
    watched(world, per_user=True)
    run(world.call(world.request(caller=Caller(tenant="acme", user="ada"))))
    played = run(world.call(world.request(caller=Caller(tenant="acme", user=user))))
    assert (b"for ada" in played.body) is same


def test_several_choices_and_what_a_provider_keeps_are_not_kept() -> None:
    world = World(message("hello"))
    _, kept = watched(world)
    for body in (chat_request(n=2), chat_request(store=True)):
        exchange = world.engine.begin(world.request(body, dialect="openai"))
        exchange.original = exchange.request
        kept.saw(exchange, Substitute(200, (), b"{}"))
    assert kept.kept.stats().entries == 0


def test_a_request_that_a_guard_flags_gets_none() -> None:
    world = World(message("hello"))
    _, kept = watched(world)
    exchange = world.engine.begin(world.request())
    exchange.original = exchange.request
    kept.saw(exchange, Substitute(200, (), b"{}"))
    assert asyncio.run(kept.find(exchange, "server")) is not None
    exchange.findings = (Finding("injection", Verdict.FLAG, ("x",)),)
    assert asyncio.run(kept.find(exchange, "server")) is None


def test_only_tasks_whose_ladder_comes_to_it_are_looked_at(run: Any) -> None:
    world = World(message("hello"))
    _, kept = watched(world, used=lambda task: task == "chat")
    run(world.call())
    assert kept.kept.stats().entries == 0


def test_a_tenants_answers_are_forgotten_with_its_cache(run: Any) -> None:
    from headgate.policy.caching import partition

    world = World(message("for acme"), message("for globex"))
    _, kept = watched(world)
    for tenant in ("acme", "globex"):
        run(world.call(world.request(caller=Caller(tenant=tenant))))
    assert kept.forget(f"{partition(tenant='acme')}:") == 1
    assert kept.kept.stats().entries == 1
