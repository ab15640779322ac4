"""Answers under an inspector: edited, stopped with a real status or in the middle, and paid for either way."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crossing_calls import MIXED, asks

from headgate.core.errors import ContentBlocked, UpstreamBroken
from headgate.core.exchange import Ending
from headgate.core.guards import Denied, Edit, Finding, Inspector, Seen, ToolCall, Verdict
from headgate.engine.blocking import run_blocking
from headgate.engine.mending import PING
from headgate.policy.ladder import PROVIDERS, Step
from headgate.testing import FakeAnswer, Passed, Played, World
from headgate.testing.canned import completion, completion_stream, event, message, message_stream

WHOLE = {"anthropic": message, "openai": completion}
STREAM = {"anthropic": message_stream, "openai": completion_stream}
STOP = Finding("leak", Verdict.BLOCK, ("canary",))
EDIT = Finding("links", Verdict.REDACT, ("image",))


@dataclass
class Eyes:
    """Stops at CANARY, edits "bad" to "good", and shows what `tool` makes of calls."""

    tools: bool = False
    stopped: Finding | None = None
    findings: list[Finding] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    edited: int = 0

    def text(self, place: str, piece: str, *, final: bool = False) -> Seen:
        whole = self.texts[place] = self.texts.get(place, "") + piece
        if "CANARY" in whole:
            self.stopped = STOP
            return Seen(whole.index("CANARY"))
        edits = ()
        at = whole.find("bad", self.edited)
        if at >= 0:
            self.edited = at + 3
            self.findings.append(EDIT)
            edits = (Edit(at, at + 3, "good"),)
        return Seen(len(whole) if final else max(0, len(whole) - 5), edits)

    def tool(self, call: ToolCall) -> ToolCall | Denied:
        return call


class Made:
    """Makes inspectors, and keeps them."""

    def __init__(self) -> None:
        self.all: list[Eyes] = []
        self.eyes: type[Eyes] = Eyes

    def __call__(self) -> Inspector:
        self.all.append(self.eyes())
        return self.all[-1]


def watching(*script: Any, **options: Any) -> tuple[World, Made]:
    """A world in which every answer is looked at."""
    world, made = World(*script, **options), Made()
    admit = world.engine._admit

    def admitted(exchange: Any) -> Any:
        plan = admit(exchange)
        plan.inspects = made
        return plan

    world.engine._admit = admitted  # type: ignore[method-assign]  # in the place of what decides that, and of settings
    return world, made


Play = Callable[..., Played]


def lost() -> UpstreamBroken:
    return UpstreamBroken("lost", kind="broken", retryable=True, elsewhere=True, maybe_billed=True)


def words(dialect: str, body: bytes) -> str:
    """The text of a stream."""
    told = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    if dialect == "anthropic":
        return "".join(each["delta"].get("text", "") for each in told if each.get("type") == "content_block_delta")
    return "".join(c["delta"].get("content") or "" for each in told for c in each["choices"])


def test_a_stream_with_nothing_to_find_passes_byte_for_byte(play: Play, dialect: str) -> None:
    frames = STREAM[dialect]("one ", "two ", "three")
    plain = play(World(frames), dialect=dialect, stream=True)
    world, made = watching(frames, keep_text=True)
    played = play(world, dialect=dialect, stream=True)
    assert played.body == plain.body
    assert world.exchange.response_text == "one two three"
    assert world.exchange.attempts[0].cost_nano == plain.exchange.attempts[0].cost_nano
    assert len(made.all) == 1


def test_an_edited_stream_is_logged_as_it_went_out_and_says_so_at_its_end(play: Play, dialect: str) -> None:
    world, _ = watching(STREAM[dialect]("one b", "ad two ", "three"), keep_text=True)
    played = play(world, dialect=dialect, stream=True)
    assert words(dialect, played.body) == "one good two three"
    assert world.exchange.response_text == "one good two three"
    assert world.exchange.findings == (EDIT,)
    assert b"x-headgate-guard=redact:links:image" in played.body.split(b"\n\n")[-2]
    assert world.exchange.ending is Ending.COMPLETE


def test_a_stop_in_the_middle_ends_the_stream_and_the_exchange_and_charges_what_was_shown(
    play: Play, dialect: str
) -> None:
    frames = STREAM[dialect]("It is fine. ", "So far. ", "CANARY", " more")
    world, _ = watching(frames, keep_text=True)
    played = play(world, dialect=dialect, stream=True)
    exchange = world.exchange
    assert played.status == 200
    assert words(dialect, played.body) == "It is fine. So far. "
    assert (b'"refusal"' if dialect == "anthropic" else b'"content_filter"') in played.body
    assert (exchange.ending, exchange.findings) == (Ending.REFUSED, (STOP,))
    assert isinstance(exchange.error, ContentBlocked)
    assert exchange.error.reasons == ("canary",)
    assert exchange.attempts[0].error is None
    assert exchange.response_text == "It is fine. So far. "
    assert exchange.attempts[0].cost_nano > 0
    assert exchange.attempts[0].estimated
    assert b"x-headgate-guard=block:leak:canary" in played.body
    assert len(world.ledger.settled) == 1


def test_a_stop_before_anything_has_left_is_a_refusal_with_a_status(play: Play, dialect: str) -> None:
    world, _ = watching(STREAM[dialect]("CANARY", " more"), keep_text=True)
    played = play(world, dialect=dialect, stream=True)
    assert (played.status, played.headers[b"x-should-retry"]) == (400, b"false")
    assert played.headers[b"x-headgate-guard"] == b"block leak:canary"
    assert b"content_blocked" in played.body
    assert b"CANARY" not in played.body
    assert (world.exchange.ending, world.exchange.response_text) == (Ending.REFUSED, "")
    assert world.exchange.attempts[0].cost_nano > 0
    assert len(world.exchange.attempts) == 1


def test_a_whole_answer_is_edited_and_its_headers_say_so(play: Play, dialect: str) -> None:
    world, _ = watching(WHOLE[dialect]("this is bad"), keep_text=True)
    played = play(world, dialect=dialect)
    assert b"this is good" in played.body
    assert played.headers[b"x-headgate-guard"] == b"redact links:image"
    assert world.exchange.response_text == "this is good"


def test_a_whole_answer_that_is_stopped_is_refused_and_paid_for(play: Play, dialect: str) -> None:
    world, _ = watching(WHOLE[dialect]("a CANARY"), keep_text=True)
    played = play(world, dialect=dialect)
    assert played.status == 400
    assert b"the leak guard blocked the answer (canary)" in played.body
    exchange = world.exchange
    assert (exchange.ending, exchange.response_text, exchange.findings) == (Ending.REFUSED, "", (STOP,))
    attempt = exchange.attempts[0]
    assert attempt.cost_nano > 0
    assert not attempt.estimated


def coded(body: bytes) -> FakeAnswer:
    """An answer in a content coding."""
    return FakeAnswer(
        200, [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")], [gzip.compress(body)]
    )


def test_a_coded_answer_that_is_edited_goes_out_plain(play: Play) -> None:
    world, _ = watching(coded(b"".join(message("this is bad"))))
    played = play(world)
    assert b"this is good" in played.body
    assert b"content-encoding" not in played.headers


def test_a_coded_answer_that_is_not_edited_stays_as_it_came(play: Play) -> None:
    answer = b"".join(message("this is fine"))
    world, _ = watching(coded(answer))
    assert gzip.decompress(play(world).body) == answer


def test_a_translated_stream_is_looked_at_in_the_callers_dialect(play: Play) -> None:
    world, made = watching(completion_stream("one b", "ad two ", "three"), models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    assert words("anthropic", played.body) == "one good two three"
    assert list(made.all[0].texts) == ["content[0]"]


def test_a_translated_answer_is_looked_at_in_the_callers_dialect(play: Play) -> None:
    world, made = watching(completion("this is bad"), models=MIXED)
    played = play(world, asks("anthropic", "gpt")[0])
    assert b"this is good" in played.body
    assert list(made.all[0].texts) == ["content[0]"]


def test_every_attempt_has_an_inspector_of_its_own(play: Play, dialect: str) -> None:
    world, made = watching([*STREAM[dialect]("b")[:2], lost()], STREAM[dialect]("ad one"))
    played = play(world, dialect=dialect, stream=True)
    assert words(dialect, played.body) == "ad one"
    assert len(made.all) == 2


def test_what_waits_is_not_sent_when_the_attempt_fails_and_another_one_answers(play: Play, dialect: str) -> None:
    """Nothing has been cleared, so nothing has left: it is retried as if there had been no content."""
    world, _ = watching([*STREAM[dialect]("abc", "d")[:3], lost()], STREAM[dialect]("whole"))
    played = play(world, dialect=dialect, stream=True)
    assert words(dialect, played.body) == "whole"
    first, second = world.exchange.attempts
    assert first.cost_nano > 0
    assert second.error is None


def test_at_a_cut_what_waited_comes_before_the_error(play: Play, dialect: str) -> None:
    frames = STREAM[dialect]("It is fine. ", "So far.", "and more")
    cut = next(n for n, frame in enumerate(frames) if b"and more" in frame)
    world, _ = watching([*frames[:cut], lost()])
    played = play(world, dialect=dialect, stream=True)
    assert words(dialect, played.body.split(b"provider_broken")[0].rpartition(b"\n\n")[0]) == "It is fine. So far."
    assert b"provider_broken" in played.body
    assert world.exchange.ending is Ending.CUT


def test_a_cut_whose_rest_is_stopped_ends_as_a_stop(play: Play) -> None:
    frames = message_stream("It is fine. ", "So far.", "x")
    world, made = watching([*frames[:4], lost()])

    class Late(Eyes):
        def text(self, place: str, piece: str, *, final: bool = False) -> Seen:
            if final:
                self.stopped = STOP
            return super().text(place, piece, final=final)

    made.eyes = Late
    played = play(world, stream=True)
    assert b'"stop_reason":"refusal"' in played.body
    assert b"provider_broken" not in played.body
    assert world.exchange.ending is Ending.REFUSED


def test_a_buffered_stream_is_looked_at_too_and_begun_anew_after_a_break(play: Play, dialect: str) -> None:
    frames = STREAM[dialect]("one bad ", "two ", "three")
    world, made = watching([*frames[:4], lost()], frames, on_cut="buffer")
    played = play(world, dialect=dialect, stream=True)
    assert words(dialect, played.body) == "one good two three"
    assert len(made.all) == 2
    assert PING not in played.body


def test_a_buffered_stream_that_is_stopped_is_not_begun_anew(play: Play, dialect: str) -> None:
    world, _ = watching(STREAM[dialect]("All is well. ", "CANARY"), on_cut="buffer")
    played = play(world, dialect=dialect, stream=True)
    assert b"CANARY" not in played.body
    assert (world.exchange.ending, len(world.exchange.attempts)) == (Ending.REFUSED, 1)


def test_a_silent_streams_life_cycle_frames_leave_after_a_while_and_a_stop_then_comes_inside_it(play: Play) -> None:
    frames = message_stream("CANARY", "x")
    world, _ = watching([frames[0], Passed(20), *frames[1:]])
    played = play(world, stream=True)
    assert played.status == 200
    assert b'"stop_reason":"refusal"' in played.body
    assert b"CANARY" not in played.body


def test_a_sentence_of_ours_is_not_looked_at(play: Play) -> None:
    say = Step(frozenset(PROVIDERS), say="A CANARY of ours.")
    world, made = watching(lost(), lost(), lost(), lost(), ladder=[say])
    played = play(world, stream=True)
    assert b"A CANARY of ours." in played.body
    assert all(not eyes.texts for eyes in made.all)


def test_a_providers_error_event_comes_behind_what_was_cleared(play: Play) -> None:
    frames = message_stream("It is fine. ", "So far.")
    bad = event("error", error={"type": "overloaded_error", "message": "no"})
    world, _ = watching([*frames[:4], bad])
    played = play(world, stream=True)
    assert words("anthropic", played.body) == "It is fine. So far."
    assert played.body.rstrip().endswith(bad.rstrip())


def test_what_was_not_read_when_the_caller_left_is_charged_all_the_same(dialect: str) -> None:
    world, _ = watching(STREAM[dialect]("one ", "two ", "three ", "four "))

    async def leave() -> None:
        reply = await world.open(world.request(dialect=dialect, stream=True))
        await reply.read()
        reply.close()

    run_blocking(leave())
    assert world.exchange.ending is Ending.ABANDONED
    assert world.exchange.attempts[0].cost_nano > 0


def test_what_is_no_answer_passes(play: Play) -> None:
    world, _ = watching([b'{"input_tokens": 5}'])
    assert play(world, path="/v1/messages/count_tokens").body == b'{"input_tokens": 5}'
