"""A credential that changes where it is kept: one look after a 401, and the new value on the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.exchange import Route
from headgate.core.secret import Secret
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import CLAUDE, JSON, completion, message, message_stream, messages_request
from headgate.testing.fakes import route

REFUSED = FakeAnswer(
    401,
    ((b"content-type", JSON),),
    (b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',),
)


class Changing(Secret):
    def put(self, value: str) -> None:
        self._value = value


class Keeper:
    """Finds `new` at its first look."""

    def __init__(self, secret: Changing, new: str) -> None:
        self.secret, self.new = secret, new
        self.asked: list[float] = []

    async def renew(self, credential: Secret, since: float) -> bool:
        assert credential is self.secret
        self.asked.append(since)
        if not self.new:
            return False
        self.secret.put(self.new)
        self.new = ""
        return True


def world(*script: Any, new: str, **more: Any) -> tuple[World, Keeper]:
    secret = Changing("fake-old")
    route = Route("anthropic", CLAUDE, "anthropic", "https://anthropic.test", secret)
    made = World(*script, models={"fast": [route]}, **more)
    keeper = Keeper(secret, new)
    made.engine.ports = replace(made.engine.ports, credentials=keeper)
    return made, keeper


def keys_sent(made: World) -> list[bytes]:
    return [value for out in made.upstream.sent for name, value in out.headers if name == b"x-api-key"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_401_with_the_old_value_is_followed_by_one_attempt_with_the_new_one(
    run: Callable[..., Any], stream: bool
) -> None:
    made, keeper = world(REFUSED, message_stream("hi") if stream else message("hi"), new="fake-new")
    played = run(made.call(made.request(messages_request(model="fast", stream=stream))))
    assert played.status == 200
    assert keys_sent(made) == [b"fake-old", b"fake-new"]
    assert keeper.asked == [played.exchange.attempts[0].started]
    assert made.clock.slept == []


def test_a_401_that_no_look_can_help_is_one_attempt_and_the_callers_typed_error(run: Callable[..., Any]) -> None:
    made, keeper = world(REFUSED, new="")
    played = run(made.call(made.request(messages_request(model="fast"))))
    assert (played.status, len(made.upstream.sent), len(keeper.asked)) == (503, 1, 1)
    assert b"fake-old" not in played.body


def test_where_the_caller_owns_the_retries_the_look_is_for_the_next_call(run: Callable[..., Any]) -> None:
    made, keeper = world(REFUSED, new="fake-new", recovery=Recovery(attempts=1))
    played = run(made.call(made.request(messages_request(model="fast"))))
    assert (played.status, len(keeper.asked)) == (401, 1)
    assert keeper.secret.reveal() == "fake-new"


@pytest.mark.parametrize("status", [403, 429, 500])
def test_nothing_but_a_401_makes_a_look(run: Callable[..., Any], status: int) -> None:
    answer = FakeAnswer(status, ((b"content-type", JSON),), (b"{}",))
    made, keeper = world(*[answer] * 4, new="fake-new")
    run(made.call(made.request(messages_request(model="fast"))))
    assert keeper.asked == []


def test_a_caller_does_not_choose_the_account_that_our_key_is_used_for(run: Any) -> None:
    asked = ((b"openai-organization", b"org-theirs"), (b"openai-project", b"proj-theirs"), (b"x-other", b"stays"))
    world = World(completion("hello"))
    assert run(world.call(world.request(dialect="openai", headers=asked))).status == 200
    sent = dict(world.upstream.sent[0].headers)
    assert b"openai-organization" not in sent
    assert b"openai-project" not in sent
    assert sent[b"x-other"] == b"stays"
    world = World(completion("hello"))
    own = replace(route("openai"), credential=None)
    assert run(world.call(world.request(dialect="openai", headers=asked, direct=own))).status == 200
    assert dict(world.upstream.sent[0].headers)[b"openai-organization"] == b"org-theirs"
