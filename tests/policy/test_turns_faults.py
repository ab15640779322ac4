"""Turns under what callers, providers and other replicas do to them: nobody is lost, and nobody pays for another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.errors import NoTurn, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Request
from headgate.core.usage import Usage
from headgate.policy.concurrency import FLOOR, OVERLOADS
from headgate.policy.rate_facts import NO_FACTS, LimitFacts, RateFacts
from headgate.policy.turn import INITIAL_CAP, Turn, TurnRules, Waiting
from headgate.policy.turns import Turns
from headgate.testing.fakes import World, route

HAIKU = route("anthropic", "claude-haiku-4-5")
OPUS = route("anthropic", "claude-opus-5-5")
NOW = 1000.0
LATE = NOW + 3600
ONE = TurnRules(pacing=False, concurrency=1, breaker=None)


def request(user: str = "", **more: Any) -> Request:
    made = World().request()
    made.caller = type(made.caller)(user=user, tenant="t")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def go(desk: Turns, now: float = NOW, at: Any = HAIKU, **more: Any) -> Turn:
    found = desk.ask(request(**more), at, LATE, now)
    assert isinstance(found, Turn)
    return found


def wait(desk: Turns, now: float = NOW, at: Any = HAIKU, until: float = LATE, **more: Any) -> Waiting:
    found = desk.ask(request(**more), at, until, now)
    assert isinstance(found, Waiting)
    return found


def ended(desk: Turns, turn: Turn, error: UpstreamError | None = None, now: float = NOW, **more: Any) -> list[Waiting]:
    attempt = Attempt(1, HAIKU, NOW, sent=True, error=error, status=200 if error is None else error.status)
    if error is None:
        attempt.first_content, attempt.usage = now, Usage(input_tokens=10, output_tokens=10)
    told, _ = desk.end(turn, attempt, now, jitter=0.0, **more)
    return told


def open_wide(desk: Turns, facts: RateFacts = NO_FACTS, at: Any = HAIKU) -> None:
    """Past the slow start."""
    for _ in range(200):
        turn = go(desk, at=at)
        desk.answered(turn, facts, 200, "", NOW)
        ended(desk, turn)


def test_who_comes_back_for_other_replicas_may_share_deadline_and_place_with_what_is_left_of_its_last_stay() -> None:
    desk = Turns(default=TurnRules(concurrency=2, breaker=None))
    first, _ = go(desk, user="ada"), go(desk, user="bob")
    waiting = [wait(desk, user=user) for user in ("ada", "ada", "bob", "bob")]
    told = ended(desk, first)
    assert [each.turn is not None for each in waiting].count(True) == len(told) == 1
    turn = told[0].turn
    assert turn is not None
    place, _ = desk.postpone(turn, request(user="ada"), HAIKU, 5.0, LATE, NOW)
    assert isinstance(place, Waiting)
    assert desk.waiting == 4
    assert len(desk.tick(NOW + 5.1)) == 1
    assert desk.waiting == 3


def test_two_that_never_waited_and_come_back_with_one_deadline_wait_side_by_side() -> None:
    desk = Turns()
    turns = [go(desk), go(desk)]
    places = [desk.postpone(turn, request(), HAIKU, 5.0, LATE, NOW)[0] for turn in turns]
    assert all(isinstance(place, Waiting) for place in places)
    assert len(desk.tick(NOW + 5.1)) == 2


def test_who_cannot_wait_for_other_replicas_leaves_its_place_to_one_that_is_told_so() -> None:
    desk = Turns(default=TurnRules(concurrency=1, breaker=None))
    turn = go(desk)
    other = wait(desk, at=OPUS)
    said, told = desk.postpone(turn, request(), HAIKU, 60.0, NOW + 10, NOW)
    assert isinstance(said, NoTurn)
    assert told == [other]
    assert other.turn is not None


def test_when_a_large_call_gives_up_the_small_ones_behind_it_go_at_once() -> None:
    desk = Turns(default=TurnRules(breaker=None, concurrency=0))
    open_wide(desk)
    last = go(desk)
    desk.answered(last, RateFacts(input_tokens=LimitFacts(60_000, 10, 60.0)), 200, "", NOW)
    large = wait(desk, body=b"x" * 400_000, until=NOW + 300)
    small = wait(desk, body=b"x" * 400, until=NOW + 400)
    large.deadline = NOW + 5  # it was expected to make it, and does not
    desk._timed = [large]
    assert desk.tick(NOW + 4) == []
    assert set(desk.tick(NOW + 5)) == {large, small}
    assert large.error is not None
    assert small.turn is not None


@pytest.mark.parametrize("status", [200, 498])
def test_a_refusal_that_comes_inside_an_answer_is_one_to_the_pace_too(status: int) -> None:
    desk = Turns(default=TurnRules(breaker=None))
    open_wide(desk)
    turn = go(desk)
    desk.answered(turn, NO_FACTS, status, "", NOW)
    busy = UpstreamBusy("busy", kind="busy", status=status, retryable=True, retry_after=7.0)
    ended(desk, turn, busy)
    assert isinstance(desk.ask(request(), HAIKU, LATE, NOW), Waiting)
    assert desk.tick(NOW + 6.9) == []
    assert len(desk.tick(NOW + 7.1)) == 1


def test_impatient_callers_lower_no_cap_and_use_up_nobodys_retries() -> None:
    desk = Turns(default=TurnRules(pacing=False, breaker=None))
    for _ in range(100):
        ended(desk, go(desk), UpstreamTimeout("late", kind="timeout"), by_caller=True)
    look = desk.look(request(), HAIKU, NOW)
    assert look.cap == INITIAL_CAP
    assert look.attempt_errors == 0.0
    for _ in range(OVERLOADS + 100):
        ended(desk, go(desk), UpstreamTimeout("late", kind="timeout"), now=NOW + 1)
    look = desk.look(request(), HAIKU, NOW + 1)
    assert look.cap is not None
    assert FLOOR <= look.cap < INITIAL_CAP
    assert look.attempt_errors == 1.0


def test_an_images_bytes_are_not_taken_for_text() -> None:
    seen = request(body=b"x" * 1_000_000)
    seen.facts.has_media, seen.facts.images, seen.facts.image_bytes = True, 1, 999_600
    turn = go(Turns(), body=seen.body, facts=seen.facts)
    turn.estimate()
    assert turn.input_tokens == 1_700


def test_a_call_larger_than_its_limit_waits_for_the_full_bucket_and_is_not_refused_for_minutes() -> None:
    desk = Turns(default=TurnRules(breaker=None, concurrency=0))
    open_wide(desk, RateFacts(input_tokens=LimitFacts(30_000, 29_000, 2.0)))
    found = wait(desk, body=b"x" * 1_000_000, until=NOW + 120)
    assert found.error is None
    told = desk.tick(NOW + 61)
    assert told == [found]
    assert found.turn is not None


def test_counts_far_above_a_limit_do_not_shut_everybody_out_for_longer_than_two_minutes() -> None:
    desk = Turns(default=TurnRules(breaker=None, concurrency=0))
    open_wide(desk, RateFacts(input_tokens=LimitFacts(30_000, 29_000, 2.0)))
    turn = go(desk)
    attempt = Attempt(1, HAIKU, NOW, sent=True, first_content=NOW, usage=Usage(input_tokens=3_000_000))
    desk.end(turn, attempt, NOW, jitter=0.0)
    assert isinstance(desk.ask(request(), HAIKU, NOW + 130, NOW), Waiting)
    assert len(desk.tick(NOW + 125)) == 1


def test_a_provider_that_says_to_come_back_in_a_week_is_asked_again_within_the_hour() -> None:
    desk = Turns(default=TurnRules(breaker=None))
    turn = go(desk)
    desk.answered(turn, RateFacts(retry_after=604_800.0), 429, "", NOW)
    with pytest.raises(NoTurn):
        desk.ask(request(), HAIKU, NOW + 3599, NOW)
    assert isinstance(desk.ask(request(), HAIKU, NOW + 3700, NOW + 3601), Turn)


def _fails(desk: Turns, times: int, at: Any, **more: Any) -> None:
    for _ in range(times):
        found = desk.ask(request(**more), at, LATE, NOW)
        assert isinstance(found, Turn)
        ended(desk, found, UpstreamBroken("x", kind="server", status=500))


def _asking(model: str, endpoint: str = "messages") -> Request:
    made = request(endpoint=endpoint)
    made.facts.model = model
    return made


def test_in_process_where_routes_name_no_model_one_that_fails_does_not_close_the_others() -> None:
    desk = Turns(default=TurnRules(pacing=False))
    passed = replace(HAIKU, model="", credential=None)
    for _ in range(10):
        found = desk.ask(_asking("claude-opus-5-5"), passed, LATE, NOW)
        assert isinstance(found, Turn)
        ended(desk, found, UpstreamBroken("x", kind="server", status=500))
    with pytest.raises(NoTurn):
        desk.ask(_asking("claude-opus-5-5"), passed, LATE, NOW)
    assert desk.look(_asking("claude-opus-5-5"), passed, NOW).blocked is not None
    assert isinstance(desk.ask(_asking("claude-haiku-4-5"), passed, LATE, NOW), Turn)


def test_a_provider_that_cannot_count_tokens_is_not_taken_for_one_that_cannot_answer() -> None:
    desk = Turns(default=TurnRules(pacing=False))
    _fails(desk, 10, HAIKU, endpoint="count_tokens")
    with pytest.raises(NoTurn):
        desk.ask(request(endpoint="count_tokens"), HAIKU, LATE, NOW)
    assert isinstance(desk.ask(request(), HAIKU, LATE, NOW), Turn)


def test_a_name_of_a_megabyte_is_not_kept() -> None:
    desk = Turns()
    for number in range(3):
        found = desk.ask(_asking(f"{number}" * 1_000_000), replace(HAIKU, model=""), LATE, NOW)
        assert isinstance(found, Turn)
        ended(desk, found)
    assert all(len(key[3]) < 300 for key in desk._lanes)
    breakers = desk._providers["anthropic"].breakers
    assert breakers is not None
    assert all(len(key[1]) < 300 for key in breakers._routes)
