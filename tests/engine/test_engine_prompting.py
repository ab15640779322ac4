"""Attempts that are marked for the provider's prompt cache, and what is remembered of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBroken
from headgate.engine.plan import TaskPolicy
from headgate.policy.prompt_caching import PromptCaching
from headgate.policy.recovery import Recovery
from headgate.testing import World
from headgate.testing.canned import completion, message
from headgate.testing.fakes import Played, route

SYSTEM = "All of our terms and conditions, word by word. " * 500
LONG = {"model": "claude-opus-5", "max_tokens": 9, "system": SYSTEM}
CHAT = {"model": "gpt-5.6", "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "q"}]}
Play = Callable[..., Played]


def asked(n: int, **more: Any) -> bytes:
    return json.dumps({**LONG, "messages": [{"role": "user", "content": f"question {n}"}], **more}).encode()


def cached(read: int = 0, written: int = 0) -> list[bytes]:
    counts = {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    body = json.loads(b"".join(message()))
    body["usage"] |= counts
    return [json.dumps(body).encode()]


def sent(world: World) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in world.upstream.sent]


def test_the_second_call_with_a_prefix_is_sent_with_a_mark_and_says_the_same(play: Play) -> None:
    world = World(message(), cached(written=5000), cached(read=5000), prompts=PromptCaching())
    for n in range(3):
        assert play(world, asked(n)).status == 200
    bodies = sent(world)
    assert bodies[0] == json.loads(asked(0))
    block = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    assert [each["system"] for each in bodies[1:]] == [[block], [block]]
    assert bodies[2] == {**json.loads(asked(2)), "system": [block]}


def test_what_it_saved_is_on_the_attempt_and_in_the_prefixes_statistics(play: Play) -> None:
    prompts = PromptCaching()
    world = World(message(), cached(written=5000), cached(read=5000), prompts=prompts)
    attempts = [play(world, asked(n)).exchange.attempts[-1] for n in range(3)]
    # claude-haiku-4-5 served: $1 per million in; a write costs a quarter of it more, a read a tenth.
    assert [each.saved_nano for each in attempts] == [0, -1_250_000, 4_500_000]
    assert len({each.prefix for each in attempts}) == 1
    assert attempts[0].prefix
    (stats,) = prompts.stats()
    assert (stats.calls, stats.hits, stats.saved_nano) == (3, 1, 3_250_000)


def test_a_caller_that_marks_its_own_prompt_is_passed_on_byte_by_byte(play: Play) -> None:
    world = World(message(), message(), message(), prompts=PromptCaching())
    own = asked(1, system=[{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral", "ttl": "1h"}}])
    for _ in range(3):
        play(world, own)
    assert [each.body for each in world.upstream.sent] == [own] * 3


def test_short_prompts_and_tasks_that_say_off_are_passed_on_byte_by_byte(play: Play) -> None:
    short = asked(1, system="short")
    worlds = [World(message(), message(), prompts=PromptCaching())]
    worlds.append(World(message(), message(), prompts=PromptCaching(), task={"prompt_caching": False}))
    for world, body in zip(worlds, (short, asked(1)), strict=True):
        for _ in range(2):
            play(world, body)
        assert [each.body for each in world.upstream.sent] == [body] * 2


def test_tenants_do_not_warm_each_others_prompts(play: Play) -> None:
    world = World(*[message()] * 4, prompts=PromptCaching())
    for tenant in ("acme", "other", "third"):
        play(world, asked(1), caller=Caller(tenant=tenant))
    assert all("cache_control" not in json.dumps(each) for each in sent(world))


def test_a_retry_is_no_second_sight(play: Play) -> None:
    world = World(UpstreamBroken("down", kind="connect", retryable=True), message(), prompts=PromptCaching())
    play(world, asked(1))
    assert [b"cache_control" in each.body for each in world.upstream.sent] == [False, False]


def test_a_call_that_fails_while_it_writes_does_not_keep_the_next_one_from_it(play: Play) -> None:
    down = UpstreamBroken("down", kind="connect", retryable=True)
    world = World(message(), down, message(), prompts=PromptCaching(), recovery=Recovery(attempts=1))
    for n in range(3):
        play(world, asked(n))
    assert [b"cache_control" in each.body for each in world.upstream.sent] == [False, True, True]


def test_a_call_of_a_batch_waits_for_the_one_that_writes_its_prefix_and_for_no_longer_than_ten_seconds(
    run: Any,
) -> None:
    prompts = PromptCaching()
    world = World(message(), message(), prompts=prompts)
    run(world.call(world.request(asked(0))))
    # Another one is writing, and never begins to answer.
    place = ("", "anthropic", id(world.engine.policies.router.providers["anthropic"].credential), "claude-opus-5")
    from headgate.wire.prefixes import prefixes

    found = prefixes(asked(1))
    assert found is not None
    marks = prompts.look(place, found.found, 512, world.clock.now())
    assert marks.writes
    began = world.clock.now()
    run(world.call(replace(world.request(asked(2)), batch=True)))
    assert 10.0 <= world.clock.now() - began < 11.0
    assert b"cache_control" not in world.upstream.sent[1].body


def test_a_chat_is_given_a_cache_key_once_its_beginning_has_come_again(play: Play) -> None:
    world = World(*[completion()] * 3, prompts=PromptCaching())
    for _ in range(3):
        play(world, json.dumps(CHAT).encode(), dialect="openai", caller=Caller(tenant="acme"))
    keys = [each.get("prompt_cache_key", "") for each in sent(world)]
    assert keys[0] == ""
    assert keys[1] == keys[2] != ""
    assert "acme" not in keys[1]
    assert {k: v for k, v in sent(world)[2].items() if k != "prompt_cache_key"} == CHAT


def test_a_crossed_request_is_marked_in_the_routes_dialect(play: Play) -> None:
    models = {"m": [route("anthropic", "claude-opus-5")]}
    world = World(*[message()] * 2, models=models, prompts=PromptCaching())
    for _ in range(2):
        play(world, json.dumps({**CHAT, "model": "m"}).encode(), dialect="openai")
    assert b"cache_control" not in world.upstream.sent[0].body
    assert b"cache_control" in world.upstream.sent[1].body


def test_a_task_is_marked_unless_it_is_told_not_to() -> None:
    assert TaskPolicy().prompt_caching


@pytest.mark.parametrize("stream", [False, True])
def test_streams_are_marked_like_whole_answers(play: Play, stream: bool) -> None:
    from headgate.testing.canned import message_stream

    answers = [message_stream("hi") if stream else message() for _ in range(2)]
    world = World(*answers, prompts=PromptCaching())
    for n in range(2):
        play(world, asked(n, stream=stream))
    assert [b"cache_control" in each.body for each in world.upstream.sent] == [False, True]
