"""Callers' limits in Redis: many processes at once, what is kept there, and what comes of it when it is gone."""

from __future__ import annotations

import math
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis_server import RedisServer, redis_server

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Limit, Taken
from headgate.engine.blocking import run_blocking
from headgate.policy.gcra import Limits
from headgate.stores import redis_link
from headgate.stores.limits import MemoryLimits
from headgate.stores.redis_limits import RedisLimits
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_place import redis_place
from headgate.stores.sharing import Sharing

__all__ = ["redis_server"]

LIMITS = (Limit(("user",), requests_per_minute=120, tokens_per_minute=6000),)
ADA = Caller(user="ada.lovelace@acme.example", tenant="acme")

HAMMER = """
import sys
from dataclasses import replace
from headgate.core.caller import Caller
from headgate.core.limits import Limit
from headgate.engine.blocking import run_blocking
from headgate.stores.redis_limits import RedisLimits
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_place import redis_place

told = []
link = RedisLink(replace(redis_place(sys.argv[1]), timeout=30.0), tell=lambda name, **_: told.append(name))
port = RedisLimits(link, [Limit(("user",), requests_per_minute=120, tokens_per_minute=6000)]).blocking()
sys.stdin.readline()
let_in = used = 0
for number in range(150):
    said = run_blocking(port.ask(Caller(user="ada"), tokens=100))
    if said:
        let_in += 1
        used += 40
        port.correct(said, 40, 0.0)
link.close()
print(let_in, used, len(told))
"""


@pytest.fixture
def linked(redis_server: RedisServer) -> Iterator[RedisLink]:
    link = RedisLink(replace(redis_place(redis_server.url()), timeout=30.0), tell=lambda *_, **__: None)
    yield link
    link.close()


def test_many_processes_together_never_exceed_a_limit_and_use_all_of_it(redis_server: RedisServer) -> None:
    url = redis_server.url()
    told = [sys.executable, "-c", HAMMER, url]
    ran = [
        subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    began = time.monotonic()
    for each in ran:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=120) for each in ran]
    took = time.monotonic() - began
    found = [tuple(map(int, out.split())) for out, errors in said if not errors]
    assert len(found) == 4, said
    assert sum(lost for _, _, lost in found) == 0
    let_in, used = sum(row[0] for row in found), sum(row[1] for row in found)
    assert let_in <= 120 + math.ceil(took * 2)
    assert used <= 6000 + math.ceil(took * 100)
    assert let_in >= 60  # by tokens alone, were nothing given back


def test_nobodys_name_is_in_redis_and_keys_are_short(redis_server: RedisServer, linked: RedisLink) -> None:
    prefix = linked.place.prefix
    for caller in (ADA, Caller(user="x" * 10_000)):
        assert run_blocking(RedisLimits(linked, LIMITS).blocking().ask(caller, tokens=10))
    keys = redis_server.keys(f"?prefix={prefix}")
    cells = [key for key in keys if not key.endswith(":replicas")]
    assert len(cells) == 4
    for key in cells:
        head, _, digest = key.rpartition(":")
        assert head == f"{{{prefix}}}:limit"
        assert len(digest) == 32
        assert set(digest) <= set(string.hexdigits)


def test_a_cell_vanishes_when_its_bucket_is_full(redis_server: RedisServer, linked: RedisLink) -> None:
    run_blocking(RedisLimits(linked, LIMITS).blocking().ask(ADA, tokens=600))
    keys = redis_server.keys(f"?prefix={linked.place.prefix}")
    left = sorted(redis_server.run("PTTL", key) / 1000 for key in keys if ":limit:" in key)
    assert 0.5 + 10 >= left[0] > 0
    assert 6 + 10 >= left[1] > left[0]


def test_replicas_that_are_brought_to_another_figure_go_on_with_the_same_cells(linked: RedisLink) -> None:
    few = RedisLimits(linked, [Limit(("user",), requests_per_minute=2)]).blocking()
    many = RedisLimits(linked, [Limit(("user",), requests_per_minute=20)]).blocking()
    began = time.monotonic()
    assert run_blocking(few.ask(ADA, tokens=0))
    said = run_blocking(many.ask(ADA, tokens=0))
    took = time.monotonic() - began
    assert 9 <= said.figures[0].remaining <= 9 + took / 3 + 1  # half the minute was gone, and one


def test_a_call_that_no_limit_applies_to_asks_nobody(linked: RedisLink) -> None:
    said = run_blocking(RedisLimits(linked, LIMITS).blocking().ask(Caller(tenant="acme"), tokens=5))
    assert said
    assert said.figures == ()
    assert linked._thread is None


def test_a_call_that_redis_let_in_can_be_corrected_while_redis_is_gone_and_the_other_way(
    linked: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "BEAT_SECONDS", 3600.0)  # nothing looks whether it is back but the test
    limits = RedisLimits(linked, LIMITS)
    port = limits.blocking()
    before = run_blocking(port.ask(ADA, tokens=100))
    linked.up = False
    alone = run_blocking(port.ask(ADA, tokens=6000))
    assert isinstance(before, Taken)
    assert isinstance(alone, Taken)
    port.correct(before, 10, 0.0)
    assert not run_blocking(port.ask(ADA, tokens=5000))  # which come back in 50 s
    port.correct(alone, 10, 0.0)
    assert run_blocking(port.ask(ADA, tokens=5000))
    linked.up = True
    port.correct(run_blocking(MemoryLimits(Limits(LIMITS), lambda: 0.0).ask(ADA, tokens=1)), 0, 0.0)  # another's
    assert run_blocking(port.ask(ADA, tokens=5000))


def test_one_that_is_cancelled_while_it_waits_harms_nobody(linked: RedisLink) -> None:
    import asyncio

    port = RedisLimits(linked, LIMITS).asynchronous()

    async def run() -> list[bool]:
        left = [asyncio.create_task(port.ask(ADA, tokens=1)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in left[::2]:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return [bool(await port.ask(ADA, tokens=1)) for _ in range(3)]

    assert asyncio.run(run()) == [True] * 3


def test_the_door_opens_what_shared_names(redis_server: RedisServer) -> None:
    local = Sharing("memory", LIMITS, tell=lambda *_, **__: None)
    assert isinstance(local.limits(blocking=True), MemoryLimits)
    assert local.limits(blocking=True) is local.limits(blocking=False)
    assert local.pace(blocking=True) is None
    assert local.health() == {"ok": True, "shared": "memory"}
    local.close()
    assert Sharing("memory", tell=lambda *_, **__: None).limits(blocking=True) is None
    told: list[str] = []
    shared = Sharing(redis_server.url(), LIMITS, tell=lambda name, **_: told.append(name))
    port, pace = shared.limits(blocking=True), shared.pace(blocking=True)
    assert port is not None
    assert pace is not None
    said = run_blocking(port.ask(ADA, tokens=10**9))
    assert isinstance(said, Exceeded)
    assert said.limit.per == ("user",)
    assert shared.health()["shared"] == f"redis://127.0.0.1:{redis_server.port}/0"
    shared.close()
    shared.close()
    assert Sharing(redis_server.url(), tell=lambda *_, **__: None).limits(blocking=False) is None
