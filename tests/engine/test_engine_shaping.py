"""A task's history: what is sent of a long conversation, and what is told of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from headgate.policy.shaping import History, Shape
from headgate.testing import World
from headgate.testing.canned import completion, message
from headgate.testing.fakes import Played, route

Play = Callable[..., Played]
LAST_TWO = {"shape": Shape(History(turns=2, block=1))}


def talk(turns: int, **more: Any) -> bytes:
    said = []
    for n in range(turns):
        said += [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [*said, {"role": "user", "content": "now"}]}
    return json.dumps({**body, **more}).encode()


def test_the_last_turns_are_sent_and_the_caller_is_told_what_is_gone(play: Play) -> None:
    world = World(message(), task=LAST_TWO)
    played = play(world, talk(4, system="be kind"))
    sent = json.loads(world.upstream.sent[0].body)
    assert [each["content"] for each in sent["messages"]] == ["question 3", "answer 3", "now"]
    assert sent["system"] == "be kind"
    assert played.headers[b"x-headgate-pruned"].startswith(b"3 of 5 turns, about ")
    assert played.exchange.pruned == played.headers[b"x-headgate-pruned"].decode()


def test_a_short_conversation_is_passed_on_byte_by_byte(play: Play) -> None:
    world = World(message(), task=LAST_TWO)
    played = play(world, talk(1))
    assert world.upstream.sent[0].body == talk(1)
    assert b"x-headgate-pruned" not in played.headers


def test_what_is_held_and_charged_is_bounded_by_what_is_sent(play: Play) -> None:
    bounds = []
    for task in ({}, LAST_TWO):
        world = World(message(), task=task)
        play(world, talk(200))
        bounds.append(world.ledger.intents[0][2])
    assert bounds[1] < bounds[0]


def test_a_route_of_the_other_dialect_gets_a_translation_of_what_is_left(play: Play) -> None:
    models = {"m": [route("openai", "gpt-5.6")]}
    world = World(completion(), models=models, task=LAST_TWO)
    assert play(world, talk(4, model="m")).status == 200
    said = json.loads(world.upstream.sent[0].body)["messages"]
    assert "question 2" not in json.dumps(said)
    assert "question 3" in json.dumps(said)


def test_a_call_that_goes_on_from_what_the_provider_keeps_is_not_pruned(play: Play) -> None:
    items = [{"role": "user", "content": f"q {n}"} for n in range(5)]
    raw = json.dumps({"model": "gpt-5.6", "input": items, "previous_response_id": "resp_1"}).encode()
    world = World(completion(), task=LAST_TWO)
    play(world, raw, dialect="openai", path="/responses")
    assert json.loads(world.upstream.sent[0].body)["input"] == items


@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
def test_openais_conversations_are_pruned_too(play: Play, path: str) -> None:
    holder = "input" if path == "/responses" else "messages"
    said = [{"role": "user", "content": f"q {n}"} for n in range(5)]
    world = World(completion(), task=LAST_TWO)
    play(world, json.dumps({"model": "gpt-5.6", holder: said}).encode(), dialect="openai", path=path)
    assert json.loads(world.upstream.sent[0].body)[holder] == said[3:]


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_white_space_of_system_prompts_is_left_out_and_nothing_else(play: Play, dialect: str) -> None:
    said: list[dict[str, str]] = [{"role": "user", "content": "my  own   spaces"}]
    loose, tight = "Be  kind.\n\n\n\nBe brief.\n\n```\nx  =  1\n```", "Be kind.\n\nBe brief.\n\n```\nx  =  1\n```"
    body: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 9, "system": loose, "messages": said}
    if dialect == "openai":
        body = {"model": "gpt-5.6", "messages": [{"role": "system", "content": loose}, *said]}
    world = World(message() if dialect == "anthropic" else completion(), task={"shape": Shape(compact=True)})
    played = play(world, json.dumps(body).encode(), dialect=dialect)
    assert json.loads(world.upstream.sent[0].body) == json.loads(
        json.dumps(body).replace(json.dumps(loose), json.dumps(tight))
    )
    assert played.exchange.compacted == len(loose) - len(tight)
