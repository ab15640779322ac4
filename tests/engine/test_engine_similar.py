"""Answers to questions that are only alike: measured first, given when they were right often enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headgate.background import Background
from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBusy
from headgate.core.exchange import Ending
from headgate.policy.ladder import PROVIDERS, Step
from headgate.policy.recovery import Recovery
from headgate.policy.shadowing import SAME, WATCHING
from headgate.policy.similar import SimilarRules, may_answer, question_of
from headgate.similar import TASK, AsyncSimilar, BlockingSimilar, Similar
from headgate.stores.shadow_file import Outcome, ShadowFile
from headgate.stores.similar_index import SimilarIndex
from headgate.testing import World
from headgate.testing.canned import message, message_stream
from headgate.testing.fakes import FakeAnswer

RULES = SimilarRules("python", answers=True, check_basis_points=1, threshold=0.9)
PASSWORD, ALSO = "How do I reset my password?", "How can I reset my password?"


TURNS = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]


class Inline(Background):
    """Does everything at once."""

    def offer(self, work: Callable[[], None]) -> bool:
        work()
        return True


def embed(texts: list[str]) -> list[list[float]]:
    """What has the same words but for small ones is near."""
    return [[1.0, 0.05 * ("can" in text), 3.0 * ("weather" in text)] for text in texts]


def similar(
    world: World, rules: SimilarRules = RULES, *, same: int = 200, different: int = 0, file: ShadowFile | None = None,
    embedder: Any = embed, color: type[BlockingSimilar] = BlockingSimilar, draw: float = 0.5,
) -> ShadowFile:  # fmt: skip
    file = file or ShadowFile(None)
    for place in range(same + different):
        file.note(Outcome(0.0, TASK, rules.embedder, WATCHING, SAME if place < same else "different"))
    shared = Similar(
        rules,
        SimilarIndex(100, now=world.clock.now),
        file,
        Inline(world.log.event),
        embed=embedder,
        now=world.clock.now,
        draw=lambda: draw,
        tell=world.log.event,
    )
    port = color(shared)
    ports = replace(world.engine.ports, witnesses=(shared,), similar=port, substitutes={"similar": port})
    world.engine = type(world.engine)(ports, world.engine.policies)
    port.engine = world.engine
    shared.blocking = port if color is BlockingSimilar else BlockingSimilar(shared)
    shared.blocking.engine = world.engine
    return file


def ask(world: World, run: Any, text: str, *, stream: bool = False, caller: Caller | None = None, **more: Any) -> Any:
    told = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}
    if stream:
        told["stream"] = True
    return run(world.call(world.request(json.dumps(told).encode(), caller=caller or Caller(tenant="acme"))))


def test_a_question_that_is_alike_gets_the_answer_at_no_cost(run: Any) -> None:
    world = World(message("Click on Forgot."))
    similar(world)
    first = ask(world, run, PASSWORD)
    second = ask(world, run, ALSO)
    assert second.body == first.body
    assert second.headers[b"x-headgate-cache"] == b"similar"
    assert (second.exchange.ending, second.exchange.cost_nano, second.exchange.attempts) == (Ending.COMPLETE, 0, [])


def test_a_stream_is_answered_by_a_stream(run: Any) -> None:
    world = World(message_stream("Click"), message("Click"))
    similar(world)
    ask(world, run, PASSWORD, stream=True)
    again = ask(world, run, ALSO, stream=True)
    assert again.headers[b"x-headgate-cache"] == b"similar"
    assert again.body.count(b"x-headgate-exchange=") == 1
    assert b"x-headgate-cache" not in ask(world, run, ALSO).headers


def test_what_is_near_and_means_something_else_goes_to_the_provider(run: Any) -> None:
    world = World(message("Done."), message("Kept."))
    similar(world)
    ask(world, run, "Cancel my order")
    assert b"Kept." in ask(world, run, "Do not cancel my order").body


def test_everything_but_the_last_turn_has_to_be_the_same(run: Any) -> None:
    others: list[dict[str, Any]] = [
        {"system": "Be brief."},
        {"max_tokens": 51},
        {"temperature": 0.5},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
        {"model": "claude-opus-4-5"},
        {"caller": Caller(tenant="globex")},
        {"caller": Caller(tenant="acme", key="k")},
        {"caller": Caller(tenant="acme", task="t")},
        {"messages": [*TURNS, {"role": "user", "content": ALSO}]},
    ]
    world = World(message("first"), *[message("another")] * len(others))
    similar(world)
    ask(world, run, PASSWORD)
    for other in others:
        assert b"another" in ask(world, run, ALSO, **other).body


def test_in_shadow_it_answers_nothing_and_tells_whether_it_would_have_been_right(run: Any) -> None:
    world = World(message("Click on Forgot."), message("Click on Forgot."), message("Write 7 letters."))
    file = similar(world, replace(RULES, answers=False), same=0)
    ask(world, run, PASSWORD)
    ask(world, run, ALSO)
    ask(world, run, "Please, how can I reset my password?")
    counted = file.tally(TASK, "python", WATCHING).counted
    assert (counted.same, counted.different) == (1, 1)
    told = [fields for name, fields in world.log.events if name == "similar"]
    assert [each["result"] for each in told] == ["same", "different"]
    assert told[0]["would"] == world.ledger.settled[0].id
    assert not any("password" in str(each) for each in told)


def test_it_does_not_answer_before_it_was_right_often_enough_and_says_so_once(run: Any) -> None:
    for same, different in ((199, 0), (196, 4)):
        world = World(*[message("x")] * 3)
        similar(world, same=same, different=different, rules=replace(RULES, until=201))
        for text in (PASSWORD, ALSO):
            assert b"x-headgate-cache" not in ask(world, run, text).headers
        assert [name for name, _ in world.log.events].count("similar_not_trusted") == 1


def test_trust_answers_without_comparisons_and_not_against_them() -> None:
    trusting = replace(RULES, trust=True)
    none, bad = ShadowFile(None), ShadowFile(None)
    for _ in range(200):
        bad.note(Outcome(0.0, TASK, "python", WATCHING, "different"))
    assert may_answer(trusting, none.tally(TASK, "python", WATCHING).counted)
    assert not may_answer(trusting, bad.tally(TASK, "python", WATCHING).counted)


def test_some_of_what_it_could_answer_is_checked_all_the_same_and_it_stops_when_it_is_wrong(run: Any) -> None:
    world = World(message("one"), message("2 and something else"), message("x"))
    file = similar(world, replace(RULES, check_basis_points=10_000, false_hits_basis_points=0))
    ask(world, run, PASSWORD)
    assert b"something else" in ask(world, run, ALSO).body
    assert file.tally(TASK, "python", WATCHING).counted.different == 1
    assert [name for name, _ in world.log.events if name == "similar_back"] == ["similar_back"]


def test_an_embedder_that_is_down_is_a_miss_and_told_once(run: Any) -> None:
    def broken(texts: list[str]) -> list[list[float]]:
        raise RuntimeError("no")

    world = World(*[message("x")] * 3)
    similar(world, embedder=broken)
    for text in (PASSWORD, ALSO, PASSWORD):
        assert ask(world, run, text).status == 200
    assert [fields["error"] for name, fields in world.log.events if name == "embedder_unavailable"] == ["RuntimeError"]


def test_vectors_that_are_none_are_an_embedder_that_is_down(run: Any) -> None:
    for wrong in ([], [[]], [["x"]], [[0.0, 0.0]], [[float("nan")]], [[1.0], [2.0]]):
        world = World(message("x"))
        similar(world, embedder=lambda texts, wrong=wrong: wrong)
        assert ask(world, run, PASSWORD).status == 200
        assert [name for name, _ in world.log.events].count("embedder_unavailable") == 1


def test_an_embeddings_endpoint_is_asked_as_an_exchange_of_its_own(run: Any) -> None:
    def vectors(*values: float) -> FakeAnswer:
        body = {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8},
                "data": [{"object": "embedding", "index": 0, "embedding": list(values)}]}  # fmt: skip
        return FakeAnswer(pieces=[json.dumps(body).encode()])

    world = World(message("Click"), vectors(1.0, 0.0), vectors(1.0, 0.01))
    similar(world, replace(RULES, embedder="openai/text-embedding-3-small"), embedder=None)
    ask(world, run, PASSWORD)
    assert ask(world, run, ALSO).headers[b"x-headgate-cache"] == b"similar"
    own = [each for each in world.ledger.settled if each.request.endpoint == "embeddings"]
    assert [each.request.caller.task for each in own] == ["similar:", "similar:"]
    assert all(each.cost_nano > 0 for each in own)
    assert json.loads(world.upstream.sent[1].body)["model"] == "text-embedding-3-small"


def test_a_program_s_own_embedder_works_beside_the_event_loop() -> None:
    import asyncio

    world = World(message("Click"))
    similar(world, color=AsyncSimilar)
    ask(world, asyncio.run, PASSWORD)
    assert ask(world, asyncio.run, ALSO).headers[b"x-headgate-cache"] == b"similar"


def test_it_stands_in_where_no_provider_answers(run: Any) -> None:
    busy = UpstreamBusy("busy", kind="busy", retryable=True)
    ladder = [Step(frozenset(PROVIDERS), use="similar"), Step(frozenset(PROVIDERS), say="A break.")]
    world = World(message("Click"), busy, busy, recovery=Recovery(attempts=1), ladder=ladder)
    similar(world, replace(RULES, answers=False))
    ask(world, run, PASSWORD)
    played = ask(world, run, ALSO)
    assert b"Click" in played.body
    assert played.headers[b"x-headgate-degraded"] == b"overload: similar answer"
    assert b"A break." in ask(world, run, "What is the weather?").body


def test_without_trust_it_stands_in_for_nothing(run: Any) -> None:
    busy = UpstreamBusy("busy", kind="busy", retryable=True)
    ladder = [Step(frozenset(PROVIDERS), use="similar"), Step(frozenset(PROVIDERS), say="A break.")]
    world = World(message("Click"), busy, recovery=Recovery(attempts=1), ladder=ladder)
    similar(world, same=0)
    ask(world, run, PASSWORD)
    assert b"A break." in ask(world, run, ALSO).body


def test_an_answer_goes_away_when_its_time_is_over(run: Any) -> None:
    world = World(message("one"), message("two"))
    similar(world)
    ask(world, run, PASSWORD)
    world.clock.time += RULES.keep_seconds
    assert b"two" in ask(world, run, ALSO).body


def test_what_was_measured_survives_a_restart(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "headgate.db.similar.db"
    similar(World(), file=ShadowFile(path))
    world = World(message("Click"))
    similar(world, same=0, file=ShadowFile(path))
    ask(world, run, PASSWORD)
    assert ask(world, run, ALSO).headers[b"x-headgate-cache"] == b"similar"


def test_only_one_text_of_the_users_is_a_question() -> None:
    world = World()

    def question(**more: Any) -> Any:
        told = {"model": "claude-haiku-4-5", "max_tokens": 50, **more}
        return question_of(world.request(json.dumps(told).encode()))

    def user(content: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": content}]

    plain, block = question(messages=user("x")), question(messages=user([{"type": "text", "text": "x"}]))
    assert plain is not None
    assert block is not None
    assert (plain.text, block.text) == ("x", "x")
    assert question(messages=user([{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])) is None
    assert question(messages=user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])) is None
    assert question(messages=[*user("x"), {"role": "assistant", "content": "y"}]) is None
    assert question(messages=user(" ")) is None
    assert question(messages=user("x" * 4_001)) is None
