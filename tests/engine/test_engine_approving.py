"""Tool calls that wait: parked from an answer, and had with the same request again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.approvals import Decision, Parked
from headgate.core.caller import Caller
from headgate.core.exchange import Ending, Request
from headgate.core.guards import Denied, ToolCall
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.policy.guards.loops import LoopWatch
from headgate.policy.guards.patterns import Glob
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.tools import ToolRule, ToolRules
from headgate.stores.approvals import ApprovalStore
from headgate.stores.memory import MemoryLedger
from headgate.testing import World
from headgate.testing.canned import chat_request, messages_request
from headgate.testing.fakes import Played

RULES = GuardRules(
    profile="standard",
    tools="block",
    loops="block",
    tool_rules=ToolRules((ToolRule(Glob("send"), "approve"), ToolRule(Glob("search"), "allow")), expires=3600.0),
)
ADA = Caller(key="k", tenant="acme", user="ada")
SEND = ToolCall("toolu_1", "send", '{"to": "ada@acme.example"}', "content[1]")


class Desk:
    """A world whose calls can wait."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run
        self.world = World()
        self.ledger = MemoryLedger(now=self.world.clock.now)
        self.store = ApprovalStore(self.ledger, lambda: b"k" * 32, now=self.world.clock.now, tell=self.world.log.event)
        engine = self.world.engine
        port: Any = self.store.blocking() if run is run_blocking else self.store.asynchronous()
        policies = replace(engine.policies, loops=LoopWatch(self.world.clock.now))
        self.world.engine = Engine(replace(engine.ports, approvals=port), policies)

    def request(self, **options: Any) -> Request:
        return replace(self.world.request(**options), caller=ADA)

    def park(self, *calls: ToolCall, request: Request | None = None) -> tuple[Parked, ...]:
        """What is parked of an answer with these calls."""
        engine = self.world.engine
        exchange = engine.begin(request or self.request())
        watch = engine._approving.watch(exchange, engine._admit(exchange), RULES, tainted=False)
        assert watch is not None
        told = [watch.tool(call) for call in calls]
        waiting = [each for each in told if isinstance(each, Denied)]
        assert len(exchange.parked) == len(waiting)
        assert list(exchange.parked) == watch.parked
        return exchange.parked

    def again(self, tokens: str, request: Request | None = None) -> Played:
        played: Played = self.run(self.world.call(replace(request or self.request(), approval=tokens)))
        assert self.world.upstream.sent == []
        return played

    def decide(self, parked: Parked, *, approve: bool = True, edited: str | None = None, note: str = "") -> None:
        self.ledger.flush()
        assert self.store.decide(parked.id, Decision(approve, edited, "cli", note)).made


@pytest.fixture
def desk(run: Callable[..., Any]) -> Iterator[Desk]:
    made = Desk(run)
    yield made
    made.ledger.close()


def blocks(played: Played) -> list[Any]:
    assert played.status == 200, played.body
    return [block.get("input") or block.get("text") for block in json.loads(played.body)["content"]]


def said(played: Played) -> str:
    message: str = json.loads(played.body)["error"]["message"]
    return message


def test_an_approved_call_is_had_with_the_same_request_and_costs_nothing(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    played = desk.again(parked.token)
    assert blocks(played) == [{"to": "ada@acme.example"}]
    assert json.loads(played.body)["stop_reason"] == "tool_use"
    exchange = played.exchange
    assert (exchange.ending, exchange.cost_nano, exchange.attempts) == (Ending.COMPLETE, 0, [])
    assert played.headers[b"x-headgate-cost-usd"] == b"0"
    assert exchange.findings[0].reasons == (f"approved:{parked.id}",)
    assert desk.world.ledger.flushes == 1


def test_an_edited_call_is_had_as_the_person_wrote_it(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked, edited='{"to": "bob@acme.example"}')
    assert blocks(desk.again(parked.token)) == [{"to": "bob@acme.example"}]


def test_the_answer_is_given_again_with_the_calls_beside_it_in_their_order(desk: Desk) -> None:
    first, last = (replace(SEND, id=f"toolu_{n}", name="search", arguments=f'{{"n": {n}}}') for n in (7, 9))
    (parked,) = desk.park(first, SEND, last)
    desk.decide(parked)
    assert blocks(desk.again(parked.token)) == [{"n": 7}, {"to": "ada@acme.example"}, {"n": 9}]


def test_it_is_had_once(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    assert desk.again(parked.token).status == 200
    second = desk.again(parked.token)
    assert (second.status, second.headers[b"x-should-retry"]) == (400, b"false")
    assert "used once" in said(second)
    assert second.exchange.ending is Ending.REFUSED


def test_while_it_waits_the_denial_is_told_again_with_its_token(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    for _ in range(2):
        played = desk.again(parked.token)
        (text,) = blocks(played)
        assert parked.id in text
        assert "waits for a person's approval" in text
        assert played.headers[b"x-headgate-approval"] == parked.token.encode()
    desk.decide(parked)
    assert blocks(desk.again(parked.token)) == [{"to": "ada@acme.example"}]


def test_a_denied_call_is_told_so_with_the_reason(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked, approve=False, note="not to her")
    (text,) = blocks(desk.again(parked.token))
    assert "was denied by a person" in text
    assert "not to her" in text


def test_an_expired_call_is_told_so(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    desk.world.clock.time += 3600
    (text,) = blocks(desk.again(parked.token))
    assert "has expired" in text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": messages_request(temperature=1)}, "another body"),
        ({"caller": replace(ADA, key="other")}, "another key"),
        ({"caller": replace(ADA, tenant="other")}, "another tenant"),
        ({"path": "/v1/messages/other"}, "another path"),
    ],
)
def test_it_is_only_for_the_same_request_and_caller(desk: Desk, change: dict[str, Any], why: str) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    for token in (parked.token, parked.id):
        played = desk.again(token, replace(desk.request(), **change))
        assert played.status == 400, why
        assert "no approval for this call" in said(played)
    assert desk.again(parked.token).status == 200


@pytest.mark.parametrize("token", ["x", "hga_" + "a" * 26 + "_" + "b" * 43, "ap_" + "a" * 26, ", ,", "a " * 20])
def test_a_forged_token_is_refused(desk: Desk, token: str) -> None:
    desk.park(SEND)
    played = desk.again(token)
    assert played.status == 400
    assert json.loads(played.body)["error"]["type"] == "invalid_request_error"


def test_another_user_of_the_same_key_and_tenant_may_have_it(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    assert desk.again(parked.token, replace(desk.request(), caller=replace(ADA, user="bob"))).status == 200


def test_the_id_in_the_answers_text_does_for_who_cannot_see_the_token(desk: Desk) -> None:
    (parked,) = desk.park(SEND)
    desk.decide(parked)
    assert blocks(desk.again(parked.id)) == [{"to": "ada@acme.example"}]


def test_of_several_calls_each_is_approved_for_itself(desk: Desk) -> None:
    other = replace(SEND, id="toolu_2", arguments='{"to": "bob@acme.example"}')
    first, second = desk.park(SEND, other)
    desk.decide(first)
    waiting = desk.again(f"{first.token},{second.token}")
    assert [words.split("(")[0] for words in blocks(waiting)] == [
        "Headgate: the call of send is approved ",
        "Headgate: the call of send waits for a person's approval ",
    ]
    assert blocks(desk.again(first.token)) == [{"to": "ada@acme.example"}]
    desk.decide(second, approve=False)
    (text,) = blocks(desk.again(second.token))
    assert "denied" in text


def test_several_that_are_decided_come_together(desk: Desk) -> None:
    other = replace(SEND, id="toolu_2", arguments='{"to": "bob@acme.example"}')
    first, second = desk.park(SEND, other)
    desk.decide(first)
    desk.decide(second, approve=False)
    call, text = blocks(desk.again(f"{second.token}, {first.token}"))
    assert call == {"to": "ada@acme.example"}
    assert "denied" in text


def test_approvals_of_several_answers_are_not_mixed(desk: Desk) -> None:
    (first,) = desk.park(SEND)
    (second,) = desk.park(SEND)
    assert desk.again(f"{first.token},{second.token}").status == 400


def test_a_stream_is_answered_with_a_stream(desk: Desk) -> None:
    request = desk.request(stream=True)
    (parked,) = desk.park(SEND, request=request)
    waiting = desk.again(parked.token, request)
    assert waiting.headers[b"content-type"].startswith(b"text/event-stream")
    assert b"waits for a person" in waiting.body
    assert f"x-headgate-approval={parked.token}".encode() in waiting.body.rsplit(b"\n: ", 1)[1]
    desk.decide(parked)
    had = desk.again(parked.token, request)
    assert b'"type":"input_json_delta"' in had.body
    assert b'"stop_reason":"tool_use"' in had.body


def test_a_call_of_openais_dialect_is_had_likewise(desk: Desk) -> None:
    request = desk.request(body=chat_request(), dialect="openai")
    (parked,) = desk.park(SEND, request=request)
    desk.decide(parked)
    (choice,) = json.loads(desk.again(parked.token, request).body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == SEND.arguments


def test_what_an_attempt_has_parked_whose_answer_nobody_got_is_not_told(desk: Desk) -> None:
    engine = desk.world.engine
    exchange = engine.begin(desk.request())
    plan = engine._admit(exchange)
    for _ in range(2):
        watch = engine._approving.watch(exchange, plan, RULES, tainted=False)
        assert watch is not None
        watch.tool(SEND)
    assert list(exchange.parked) == watch.parked
    assert len(exchange.parked) == 1


def test_where_no_call_can_wait_a_token_is_refused(run: Callable[..., Any]) -> None:
    world = World()
    played = run(world.call(replace(world.request(), approval="ap_" + "a" * 26)))
    assert played.status == 400
    assert world.upstream.sent == []


@pytest.mark.parametrize(
    ("rules", "watched"),
    [
        (GuardRules(), False),
        (GuardRules(profile="standard", tools="block", loops="off"), False),
        (GuardRules(profile="standard", tools="block", loops="block"), True),
        (GuardRules(profile="strict", tools="block"), True),
        (GuardRules(profile="observe", tools="flag"), True),
        (replace(RULES, tools="off", loops="off"), False),
        (replace(RULES, loops="off"), True),
    ],
)
def test_calls_are_watched_only_where_something_is_to_be_said_of_them(rules: GuardRules, watched: bool) -> None:
    engine = World().engine
    exchange = engine.begin(World().request(caller=ADA))
    found = engine._approving.watch(exchange, engine._admit(exchange), rules, tainted=False)
    assert (found is not None) is watched
    nobody = engine.begin(World().request())
    found = engine._approving.watch(nobody, engine._admit(nobody), rules, tainted=False)
    assert (found is not None) is (watched and rules.judges_calls)
