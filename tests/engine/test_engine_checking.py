"""Guards that ask somebody, on the way in and before an answer goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from headgate.core.checks import Check, Passage
from headgate.core.errors import ContentBlocked
from headgate.core.exchange import Ending, Exchange
from headgate.core.guards import Finding, Verdict
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.engine.mending import PING
from headgate.policy.guards.answers import AnswerRules
from headgate.policy.guards.rules import GuardRules
from headgate.testing import Passed, Played, World
from headgate.testing.canned import chat_request, completion_stream, message, message_stream, messages_request

Play = Callable[..., Played]
BOTH = Check("moderation", blocks=True, outputs=True)
FLAG = Check("moderation", outputs=True)


class Watchful:
    """`core.ports.Checkers` that finds the word "bad"."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, list[str]]] = []

    async def check(
        self, exchange: Exchange, checks: Sequence[Check], passages: Sequence[Passage], *, output: bool = False
    ) -> tuple[Finding, ...]:
        self.asked.append((output, [each.text for each in passages]))
        verdict = Verdict.BLOCK if checks[0].blocks else Verdict.FLAG
        return tuple(
            Finding("moderation", verdict, ("hate",), channel=each.channel) for each in passages if "bad" in each.text
        )


def world(*script: object, check: Check = BOTH, rules: AnswerRules | None = None) -> tuple[World, Watchful]:
    there = World(*script, task={"answer": rules})  # type: ignore[arg-type]
    watchful = Watchful()
    engine = there.engine
    guards = GuardRules(checks=(check,))
    there.engine = Engine(
        replace(engine.ports, checkers=watchful), replace(engine.policies, guards=lambda caller: guards)
    )
    return there, watchful


def ask(text: str, *, stream: bool = False) -> bytes:
    return messages_request(stream=stream, messages=[{"role": "user", "content": text}])


def test_what_goes_in_is_asked_about_before_any_money_moves(play: Play) -> None:
    there, watchful = world()
    played = play(there, ask("a bad word"))
    assert isinstance(played.error, ContentBlocked)
    assert (played.status, played.headers[b"x-should-retry"]) == (400, b"false")
    assert b"moderation" in played.body
    assert b"bad word" not in played.body
    assert there.happened == ["settle"]
    assert watchful.asked == [(False, ["a bad word"])]
    assert (played.exchange.ending, played.exchange.findings[0].channel) == (Ending.REFUSED, "user")


def test_an_answer_is_asked_about_before_it_goes_out_and_is_paid_for(play: Play) -> None:
    there, watchful = world(message("so bad"))
    played = play(there, ask("hello"))
    assert isinstance(played.error, ContentBlocked)
    assert b"so bad" not in played.body
    assert played.exchange.cost_nano > 0
    assert len(there.ledger.settled) == 1
    assert watchful.asked[-1] == (True, ["so bad"])


def test_what_is_only_flagged_passes_byte_for_byte(play: Play) -> None:
    there, _ = world(message("so bad"), check=FLAG)
    played = play(there, ask("a bad word"))
    assert played.body == message("so bad")[0]
    assert [f.verdict for f in played.exchange.findings] == [Verdict.FLAG, Verdict.FLAG]


def test_it_is_the_repaired_answer_that_is_asked_about(play: Play) -> None:
    there, watchful = world(message("bad JSON"), message("{}"), rules=AnswerRules(code="json", repair=True))
    assert play(there, ask("hello")).body == message("{}")[0]
    assert [texts for output, texts in watchful.asked if output] == [["{}"]]


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_stream_is_held_until_its_guards_have_spoken(play: Play, dialect: str) -> None:
    stream = message_stream if dialect == "anthropic" else completion_stream
    body = ask("hello", stream=True) if dialect == "anthropic" else _chat()
    there, _ = world(stream("fine ", "words"))
    good = play(there, body, dialect=dialect, stream=True)
    plain = play(World(stream("fine ", "words")), body, dialect=dialect, stream=True)
    assert good.body == plain.body
    there, _ = world(stream("so ", "bad"))
    played = play(there, body, dialect=dialect, stream=True)
    assert b"content_blocked" in played.body
    assert b"bad" not in played.body
    assert played.exchange.cost_nano > 0
    assert [(name, told["guard"]) for name, told in there.log.events] == [("answer_blocked", "moderation")]


def test_a_stream_that_can_only_be_flagged_is_not_held(play: Play) -> None:
    there, _ = world(message_stream("so ", "bad"), check=FLAG)
    played = play(there, ask("hello", stream=True), stream=True)
    assert len(played.pieces) > 2
    assert [name for name, _ in there.log.events] == ["answer_flagged"]


def test_a_stream_that_breaks_off_is_asked_about_too(play: Play) -> None:
    there, _ = world(message_stream("so ", "bad")[:4])
    played = play(there, ask("hello", stream=True), stream=True)
    assert b"so " not in played.body
    assert b"content_blocked" in played.body


def test_a_guard_s_own_call_is_not_guarded() -> None:
    there, watchful = world(message("so bad"))
    request = there.request(ask("a bad word"))
    request.of_guard = "judge"
    assert run_blocking(there.call(request)).status == 200
    assert watchful.asked == []


def _chat() -> bytes:
    return chat_request(stream=True)


@pytest.mark.parametrize(("patience", "pings"), [(None, 2), (12.0, 4)])
def test_whoever_waits_for_a_stream_that_is_held_back_is_told_that_it_comes_though_its_provider_is_silent(
    patience: float | None, pings: int
) -> None:
    frames = message_stream("all", "well")
    there, _ = world([*frames[:3], Passed(25), *frames[3:]])
    request = there.request(ask("hello", stream=True))
    request.patience = patience
    assert run_blocking(there.call(request)).pieces[:-1] == [PING] * pings
