"""The connection to Redis: what it does when Redis is gone, hangs, forgets, refuses or comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis_server import RedisServer, own_redis, redis_server

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.limits import Limit
from headgate.engine.blocking import run_blocking
from headgate.stores.redis_limits import RedisLimits
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_place import RedisPlace, redis_place
from headgate.stores.redis_scripts import BEAT
from headgate.stores.waiters import BlockingWaiter

__all__ = ["own_redis", "redis_server"]

ADA = Caller(user="ada")
THREE = (Limit(("user",), requests_per_minute=3),)
PATIENCE = 30.0
SECRET = "".join(("hunt", "er2-", "s3cr3t"))

Open = Callable[..., "Linked"]


class Linked:
    """A link, the limits over it, and what it has told."""

    def __init__(self, url: str, *, timeout: float = 5.0, limits: tuple[Limit, ...] = THREE) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        place = replace(redis_place(url), timeout=timeout)
        self.link = RedisLink(place, tell=lambda name, **more: self.told.append((name, more)), retry_seconds=0.02)
        self.limits = RedisLimits(self.link, limits)
        self.port = self.limits.blocking()

    def ask(self, caller: Caller = ADA, tokens: int = 0) -> bool:
        return bool(run_blocking(self.port.ask(caller, tokens=tokens)))

    def until(self, what: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, (self.told, self.link.health())
            time.sleep(0.005)

    @property
    def events(self) -> list[str]:
        return [name for name, _ in self.told]


@pytest.fixture
def linked() -> Iterator[Open]:
    opened: list[Linked] = []

    def open_(url: str, **more: Any) -> Linked:
        opened.append(Linked(url, **more))
        return opened[-1]

    yield open_
    for each in opened:
        each.link.close()


# -- gone, and back ---------------------------------------------------------------------------------------------------


def test_without_redis_the_process_goes_on_alone_and_says_so_once(own_redis: RedisServer, linked: Open) -> None:
    one = linked(own_redis.url())
    assert [one.ask() for _ in range(4)] == [True, True, True, False]
    own_redis.stop()
    assert [one.ask() for _ in range(4)] == [True, True, True, False]
    assert one.events == ["shared_lost"]
    assert one.told[0][1] == {
        "shared": f"redis://127.0.0.1:{own_redis.port}/0",
        "reason": "no connection to it",
        "share": "1/1",
    }
    health = one.link.health()
    assert (health["ok"], health["last_error"]) == (False, "no connection to it")
    own_redis.start()
    one.until(lambda: one.link.up)
    assert one.events == ["shared_lost", "shared_back"]
    assert one.told[1][1]["replicas"] == 1
    assert [one.ask() for _ in range(4)] == [True, True, True, False]
    assert one.link.health()["last_error"] is None


def test_a_redis_that_is_not_there_from_the_beginning_stops_nobody(own_redis: RedisServer, linked: Open) -> None:
    own_redis.stop()
    one = linked(own_redis.url())
    assert [one.ask() for _ in range(4)] == [True, True, True, False]
    own_redis.start()
    one.until(lambda: one.link.up)
    assert one.ask()
    assert one.events == ["shared_lost", "shared_back"]


def test_while_redis_is_gone_each_replica_has_its_share(own_redis: RedisServer, linked: Open) -> None:
    url = own_redis.url()
    limits = (Limit(("user",), requests_per_minute=9),)
    three = [linked(url, limits=limits) for _ in range(3)]
    for each in three:
        assert each.ask(Caller(user="somebody"))
    for each in three:
        each.until(lambda each=each: each.link.replicas == 3 or run_blocking(_beat(each.link)))
    own_redis.stop()
    assert [sum(each.ask() for _ in range(9)) for each in three] == [3, 3, 3]
    assert three[0].told[0][1]["share"] == "1/3"


async def _beat(link: RedisLink) -> None:
    link._beat_at = float("-inf")
    await link.answer(*link._beat(), BlockingWaiter)


def test_a_redis_that_hangs_is_waited_for_once(own_redis: RedisServer, linked: Open) -> None:
    one = linked(own_redis.url(), timeout=0.1)
    one.until(lambda: one.ask(Caller()) and one.ask() and one.link.up)
    own_redis.stop(signal.SIGSTOP)
    try:
        while one.link.up:
            one.ask(Caller(user="bob"))
        sent = one.link._inbox.items
        assert [one.ask(Caller(user="eve")) for _ in range(4)] == [True, True, True, False]
        assert not sent
        assert one.told[-1][0] == "shared_lost"
        assert one.told[-1][1]["reason"] == "it did not answer in time"
    finally:
        own_redis.go_on()
    one.until(lambda: one.link.up)


def test_those_who_wait_when_redis_dies_are_all_decided_on(
    own_redis: RedisServer, linked: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.stores.redis_link._MOST_AT_ONCE", 7)
    one = linked(own_redis.url(), limits=(Limit(("user",), requests_per_minute=10_000),))
    port = one.limits.asynchronous()

    async def ask_all() -> list[object]:
        return await asyncio.gather(*[port.ask(ADA, tokens=0) for _ in range(200)])

    assert all(asyncio.run(ask_all()))
    killer = threading.Thread(target=own_redis.stop)
    killer.start()
    found = [each for _ in range(5) for each in asyncio.run(ask_all())]
    killer.join()
    assert all(found)
    one.until(lambda: not one.link.up)


# -- what a server may say --------------------------------------------------------------------------------------------


def test_scripts_that_the_server_has_forgotten_are_loaded_again(redis_server: RedisServer, linked: Open) -> None:
    one = linked(redis_server.url())
    assert one.ask()
    redis_server.run("SCRIPT", "FLUSH")
    assert [one.ask() for _ in range(3)] == [True, True, False]
    assert not one.told


def test_state_that_the_server_has_forgotten_is_a_full_bucket(redis_server: RedisServer, linked: Open) -> None:
    url = redis_server.url()
    one = linked(url, limits=(Limit(("user",), tokens_per_minute=100),))
    taken = run_blocking(one.port.ask(ADA, tokens=100))
    for key in redis_server.keys(url):
        redis_server.run("DEL", key)
    assert one.ask(tokens=100)
    one.port.correct(taken, 0, 0.0)
    assert not one.ask(tokens=100)
    assert not one.told


@pytest.mark.parametrize(
    "spoil",
    [
        ("LPUSH", "a"),
        ("SADD", "a"),
        ("SET", ""),
        ("SET", "some text of others"),
        ("SET", "nan 1 1 1"),
        ("SET", "1e300 1 1 1"),
        ("SET", "1 2 3"),
        ("SET", b"\xff\x00 \x01"),
    ],
)
def test_a_value_that_is_none_of_ours_is_a_full_bucket_and_written_over(
    redis_server: RedisServer, linked: Open, spoil: tuple[str, Any]
) -> None:
    url = redis_server.url()
    one = linked(url)
    one.ask()
    for key in redis_server.keys(url):
        redis_server.run("DEL", key)
        redis_server.run(spoil[0], key, spoil[1])
    run_blocking(_beat(one.link)) if spoil[0] != "SET" else None
    assert [one.ask() for _ in range(4)] == [True, True, True, False]
    assert not one.told


def test_a_read_only_replica_is_of_no_use_until_it_is_none(own_redis: RedisServer, linked: Open) -> None:
    one = linked(own_redis.url())
    assert one.ask()
    own_redis.run("REPLICAOF", "127.0.0.1", "1")
    one.until(lambda: one.ask(Caller(user=os.urandom(4).hex())) and not one.link.up)
    assert one.told[0][1]["reason"] == "it is a read-only replica"
    own_redis.run("REPLICAOF", "NO", "ONE")
    one.until(lambda: one.link.up)
    assert one.ask()


@pytest.fixture
def locked_redis() -> Iterator[RedisServer]:
    made = RedisServer("--requirepass", SECRET)
    yield made
    made.remove()


def test_a_wrong_password_is_told_without_it(locked_redis: RedisServer, linked: Open) -> None:
    wrong = SECRET + "-not"
    for who in ("", f":{wrong}@", f"ada:{wrong}@"):
        one = linked(locked_redis.url(who))
        assert [one.ask() for _ in range(4)] == [True, True, True, False]
        assert one.told[0][1]["reason"] == "it does not accept this user, password or what they are used for"
        seen = f"{one.told} {one.link.health()} {one.link.place} {one.limits.__dict__}"
        assert wrong not in seen
    right = linked(locked_redis.url(f":{SECRET}@"))
    assert right.ask()
    assert not right.told


def test_a_full_server_is_told(own_redis: RedisServer, linked: Open) -> None:
    one = linked(own_redis.url())
    assert one.ask()
    own_redis.run("CONFIG", "SET", "maxmemory", "1")
    one.until(lambda: one.ask(Caller(user=os.urandom(4).hex())) and not one.link.up)
    assert one.told[0][1]["reason"] == "its memory is full"
    own_redis.run("CONFIG", "SET", "maxmemory", "0")
    one.until(lambda: one.link.up)


def test_whoever_is_no_redis_is_told(linked: Open) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        one = linked(f"redis://127.0.0.1:{server.getsockname()[1]}")
        assert one.ask()
        assert one.events[0] == "shared_lost"


# -- processes --------------------------------------------------------------------------------------------------------


def test_replicas_are_counted_and_one_that_closes_is_gone(redis_server: RedisServer, linked: Open) -> None:
    url = redis_server.url()
    first, second = linked(url), linked(url)
    assert first.ask()
    assert second.ask()
    assert second.link.replicas == 2
    second.link.close()
    run_blocking(_beat(first.link))
    first.until(lambda: first.link.replicas == 1)
    assert second.link.health()["last_error"] == "closed"


def test_one_that_has_been_silent_for_long_is_no_longer_counted(redis_server: RedisServer) -> None:
    import redis

    with redis.Redis(port=redis_server.port) as client:
        key = f"t{os.urandom(4).hex()}"

        def beat(second: int, who: str) -> object:
            return client.eval(BEAT.text, 1, key, second * 1_000_000, who, 10)

        assert [beat(100, "a"), beat(101, "b"), beat(110, "b"), beat(111, "b")] == [1, 2, 2, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_both_ask_over_connections_of_their_own(redis_server: RedisServer, linked: Open) -> None:
    one = linked(redis_server.url())
    assert one.ask()
    child = os.fork()
    if child == 0:
        os._exit(0 if one.ask() and not one.told and one.link.replicas == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [one.ask(), one.ask()] == [True, False]
    assert not one.told


def test_what_is_queued_when_it_closes_is_sent(redis_server: RedisServer, linked: Open) -> None:
    url = redis_server.url()
    tokens = (Limit(("user",), tokens_per_minute=100),)
    one, other = linked(url, limits=tokens), linked(url, limits=tokens)
    taken = run_blocking(one.port.ask(ADA, tokens=100))
    one.port.correct(taken, 0, 0.0)
    one.link.close()
    one.link.close()
    assert other.ask(tokens=99)


def test_corrections_beyond_the_queue_are_dropped_and_counted(
    redis_server: RedisServer, linked: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.stores.redis_link.MOST_QUEUED", 0)
    one = linked(redis_server.url(), limits=(Limit(("user",), tokens_per_minute=100),))
    one.port.correct(run_blocking(one.port.ask(ADA, tokens=10)), 0, 0.0)
    assert one.link.health()["dropped"] == 1


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://",
        "redis://h:0x1",
        "redis://h/one",
        "redis://h?prefix=",
        "redis://h?prefix={a}",
        f"redis://h?password={SECRET}",
        f"redis://h?{SECRET}=1",
        f"redis://:{SECRET}@:99999999/",
    ],
)
def test_a_url_that_will_not_do_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        redis_place(url)
    assert caught.value.message.startswith("shared: ")
    assert SECRET not in str(caught.value)


def test_a_place_is_named_without_its_credential() -> None:
    place = redis_place(f"rediss://ada:{SECRET}@[::1]:6380/2?prefix=acme&ssl_ca_certs=ca.pem")
    assert (place.name, place.prefix) == ("rediss://[::1]:6380/2", "acme")
    assert place.options == {"ssl_ca_certs": "ca.pem"}
    assert SECRET not in repr(place)
    assert isinstance(place, RedisPlace)
