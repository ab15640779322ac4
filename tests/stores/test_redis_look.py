"""`headgate doctor` and Redis: what it finds, and what weight it gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, own_redis, redis_server

from headgate.build import build
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, WARNING
from headgate.cli.doctor_shared import check_shared
from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.stores import redis_look, redis_place
from headgate.stores.redis_look import Look, look

__all__ = ["own_redis", "redis_server"]

GOOD = Look(
    name="rediss://cache:6379/0",
    kind="Valkey",
    version="8.1.0",
    mode="standalone",
    writable=True,
    evicts=False,
    encrypted=True,
    local=False,
    replicas=3,
)


def settings(**more: Any) -> Any:
    return load(env={}, overrides=more)


def test_a_sound_server_is_seen_as_it_is(redis_server: RedisServer) -> None:
    seen = look(redis_server.url())
    assert (seen.kind, seen.mode, seen.writable, seen.evicts) in [
        ("Redis", "standalone", True, False),
        ("Valkey", "standalone", True, False),
    ]
    assert (seen.encrypted, seen.local, seen.replicas) == (False, True, 0)
    (found,) = check_shared(settings(shared=redis_server.url()), offline=False)
    assert found.level == OK
    assert "0 replicas share it now" in found.what


def test_one_that_is_away_is_a_problem(own_redis: RedisServer) -> None:
    own_redis.stop()
    (found,) = check_shared(settings(shared=own_redis.url()), offline=False)
    assert found.level == PROBLEM
    assert "no connection to it: each process goes on with its share" in found.what


def test_a_read_only_replica_and_eviction_are_seen(own_redis: RedisServer) -> None:
    own_redis.run("REPLICAOF", "127.0.0.1", "1")
    own_redis.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_redis.run("CONFIG", "SET", "maxmemory", "100mb")
    seen = look(own_redis.url())
    assert (seen.writable, seen.evicts) == (False, True)


@pytest.mark.parametrize(
    ("seen", "level", "said"),
    [
        (GOOD, OK, "rediss://cache:6379/0 answers: Valkey 8.1.0; 3 replicas share it now"),
        (GOOD._replace(replicas=1), OK, "1 replica shares it now"),
        (GOOD._replace(mode="cluster"), PROBLEM, "runs as a cluster"),
        (GOOD._replace(writable=False), PROBLEM, "read-only"),
        (GOOD._replace(kind="Redis", version="6.2.14"), WARNING, "older than 7.0"),
        (GOOD._replace(evicts=True), NOTE, "throws keys away"),
        (GOOD._replace(encrypted=False), WARNING, "not encrypted"),
    ],
)
def test_each_fault_is_told_with_its_weight(seen: Look, level: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_look, "look", lambda _: seen)
    (found,) = [each for each in check_shared(settings(shared="redis://cache"), offline=False) if said in each.what]
    assert found.level == level


def test_a_connection_on_this_machine_needs_no_encryption_and_a_newer_redis_is_fine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = GOOD._replace(encrypted=False, local=True, kind="Redis", version="10.0.1")
    monkeypatch.setattr(redis_look, "look", lambda _: seen)
    assert {each.level for each in check_shared(settings(shared="redis://localhost"), offline=False)} == {OK}


def test_offline_nobody_is_asked_and_without_a_shared_store_there_is_nothing_to_ask() -> None:
    assert [each.level for each in check_shared(settings(shared="redis://cache"), offline=True)] == [SKIPPED]
    assert list(check_shared(settings(), offline=False)) == []


def test_many_processes_with_limits_of_their_own_are_pointed_out() -> None:
    many = settings(storage="postgresql://db/headgate", limits=[{"per": "user", "requests_per_minute": 5}])
    (found,) = check_shared(many, offline=False)
    assert (found.level, found.check) == (NOTE, "shared")
    assert list(check_shared(settings(storage="postgresql://db/headgate"), offline=False)) == []


def test_without_the_extra_the_configuration_is_a_mistake_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(setting: str) -> None:
        raise ConfigError(f"{setting}: {redis_place._INSTALL}")

    monkeypatch.setattr(redis_place, "_redis", missing)
    found = settings(shared="redis://cache", storage=f"sqlite:///{tmp_path / 'own.db'}")
    with pytest.raises(ConfigError, match=r'pip install "headgate\[redis\]"'):
        build(found, env={})
