"""What a cache promises, whatever it is kept in."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cache_store import ADA, BOB, CACHES, Kept
from cached_answers import T0, answer

from headgate.core.cache import intact, sealed
from headgate.core.usage import Iteration, Usage
from headgate.engine.blocking import run_blocking

WHOLE = f"{ADA}:{'1' * 64}"
OTHER = f"{ADA}:{'2' * 64}"
BOBS = f"{BOB}:{'1' * 64}"


@pytest.fixture(params=CACHES, ids=lambda made: made.__name__)
def kept(request: pytest.FixtureRequest, tmp_path: Path, run: Any) -> Iterator[Kept]:
    made = request.param(tmp_path, run)
    yield made
    made.close()


@pytest.fixture(params=[made for made in CACHES if made.remote], ids=lambda made: made.__name__)
def remote(request: pytest.FixtureRequest, tmp_path: Path, run: Any) -> Iterator[Kept]:
    made = request.param(tmp_path, run)
    yield made
    made.close()


def test_what_is_got_is_what_was_put_in_every_field(kept: Kept) -> None:
    usage = Usage(1, 2, 3, 4, 5, 6, service_tier="priority", iterations=(Iteration("message", "m", 7),))
    stored = answer(b"data: \x00\xff\r\n\n" * 900, model="claude-haiku-4-5", provider="anthropic")
    stored = replace(stored, kind="stream", usage=usage, cost_nano=2**62, stop_reason="end_turn", exchange_id="x-1")
    made = kept.put(WHOLE, stored)
    found = kept.get(WHOLE)
    assert found == made
    assert found is not None
    assert intact(WHOLE, found)


def test_what_was_never_put_is_a_miss_and_both_are_counted(kept: Kept) -> None:
    assert kept.get(WHOLE) is None
    kept.put(WHOLE, b"one")
    assert kept.get(WHOLE) is not None
    stats = kept.port.stats()
    assert (stats.hits, stats.misses) == (1, 1)


def test_a_later_answer_takes_the_place_of_the_one_before(kept: Kept) -> None:
    kept.put(WHOLE, b"one")
    kept.put(WHOLE, b"two")
    assert kept.body(WHOLE) == b"two"


def test_an_answer_is_there_until_it_expires_and_not_a_moment_longer(kept: Kept) -> None:
    kept.put(WHOLE, b"one", seconds=100.0)
    kept.now = T0 + 99.9
    assert kept.get(WHOLE) is not None
    kept.now = T0 + 100.0
    assert kept.get(WHOLE) is None


def test_an_answer_that_has_expired_already_is_not_kept(kept: Kept) -> None:
    kept.put(WHOLE, b"one", seconds=0.0)
    kept.now = T0 - 10.0
    assert kept.get(WHOLE) is None


def test_a_year_is_no_date_of_long_ago(kept: Kept) -> None:
    kept.put(WHOLE, b"one", seconds=365 * 86_400.0)
    assert kept.get(WHOLE) is not None


@pytest.mark.parametrize("size", [0, 4096, 4097, 900_000])
def test_bodies_of_any_length_come_back_compressible_or_not(kept: Kept, size: int) -> None:
    for body in (b"x" * size, os.urandom(size)):
        kept.put(WHOLE, body)
        assert kept.body(WHOLE) == body


def test_what_is_too_large_is_not_kept_and_harms_nothing(kept: Kept) -> None:
    kept.put(WHOLE, b"small")
    kept.put(OTHER, os.urandom(kept.too_large))
    assert kept.get(OTHER) is None
    assert kept.get(WHOLE) is not None
    assert "cache_lost" not in [name for name, _ in kept.told]


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "a b\r\nset x 0 0 1\r\n",
        "a\x00b",
        "k" * 10_000,
        "\N{SNOWMAN}\N{PILE OF POO}",
        "\ud800",
        "*",
        "{x}:[a-z]?",
        "'; DROP TABLE entries; --",
        "../../etc/passwd",
    ],
    ids=lambda key: repr(key[:12]),
)
def test_a_hostile_key_is_a_key_as_any_other(kept: Kept, key: str) -> None:
    kept.put("plain", b"plain")
    kept.put(key, b"hostile")
    assert kept.body(key) == b"hostile"
    assert kept.body("plain") == b"plain"
    assert kept.get(f"{key}!") is None


def test_forgetting_a_partition_leaves_those_of_others(kept: Kept) -> None:
    for key in (WHOLE, OTHER, BOBS):
        kept.put(key, b"one")
    assert kept.forget(f"{ADA}:") == (2 if kept.counts else -1)
    assert [kept.get(key) for key in (WHOLE, OTHER)] == [None, None]
    assert kept.get(BOBS) is not None


def test_forgetting_everything_leaves_nothing_and_new_answers_are_kept(kept: Kept) -> None:
    for key in (WHOLE, BOBS):
        kept.put(key, b"one")
    assert kept.forget() == (2 if kept.counts else -1)
    assert [kept.get(key) for key in (WHOLE, BOBS)] == [None, None]
    kept.put(WHOLE, b"new")
    assert kept.body(WHOLE) == b"new"


def test_forgetting_many_is_complete(kept: Kept) -> None:
    for number in range(220):
        kept.put(f"{ADA}:{number}", b"one")
    kept.put(BOBS, b"one")
    assert kept.forget(f"{ADA}:") in (220, -1)
    assert [number for number in range(220) if kept.get(f"{ADA}:{number}") is not None] == []
    assert kept.get(BOBS) is not None


def test_a_prefix_with_wildcards_forgets_only_what_begins_so(kept: Kept) -> None:
    kept.put("[ab]*?:1", b"one")
    kept.put("a:1", b"one")
    kept.forget("[ab]*?:")
    assert kept.get("[ab]*?:1") is None
    assert kept.get("a:1") is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:1] + bytes([data[1] ^ 1]) + data[2:],
        lambda data: data + b"x",
        lambda _: b"\x01" + b"poison" * 20,
    ],
    ids=["empty", "truncated", "cut in the digest", "flipped", "flag flipped", "longer", "not ours"],
)
def test_a_corrupt_entry_is_a_miss_and_told_once_and_can_be_replaced(
    remote: Kept, change: Callable[[bytes], bytes]
) -> None:
    remote.put(WHOLE, b"one" * 3000)
    remote.put(OTHER, b"two")
    assert remote.get(WHOLE) is not None
    remote.write_raw(WHOLE, change)
    assert remote.get(WHOLE) is None
    assert remote.get(WHOLE) is None  # it is gone now
    assert remote.get(OTHER) is not None
    assert [name for name, _ in remote.told] == ["cache_corrupt"]
    assert remote.port.stats().corrupt == 1
    remote.put(WHOLE, b"three")
    assert remote.get(WHOLE) is not None


def test_an_entry_of_another_release_is_a_miss_and_nothing_to_tell_of(remote: Kept) -> None:
    remote.put(WHOLE, b"one")
    assert remote.get(WHOLE) is not None
    remote.write_raw(WHOLE, lambda data: b"\x63" + data[1:])
    assert remote.get(WHOLE) is None
    assert remote.told == []


def test_an_entry_that_somebody_moved_to_another_tenants_key_is_corrupt(remote: Kept) -> None:
    taken: list[bytes] = []
    remote.put(WHOLE, b"adas secret")
    remote.put(BOBS, b"bobs")
    assert remote.get(BOBS) is not None
    remote.write_raw(WHOLE, lambda data: taken.append(data) or data)  # type: ignore[func-returns-value]
    remote.write_raw(BOBS, lambda _: taken[0])
    assert remote.get(BOBS) is None
    assert [name for name, _ in remote.told] == ["cache_corrupt"]


def test_many_threads_with_and_without_loops_at_once_get_what_was_put_under_their_keys(kept: Kept) -> None:
    wrong: list[str] = []

    async def work(seed: int) -> None:
        port = kept.port if kept._run is not run_blocking or not kept._opened else kept._opened[0].asynchronous()
        for turn in range(20):
            key = f"{ADA}:{(seed + turn) % 7}"
            port.put(key, sealed(key, answer(key.encode() * 50)))
            found = await port.get(key)
            if found is None or found.body != key.encode() * 50:
                wrong.append(key)

    async def several(seed: int) -> None:
        await asyncio.gather(*(work(seed * 3 + each) for each in range(3)))

    threads = [threading.Thread(target=lambda seed=seed: asyncio.run(several(seed))) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert kept.told == []


def test_closing_keeps_what_was_put_a_moment_before_and_then_all_is_a_miss(remote: Kept) -> None:
    remote.put(WHOLE, b"one")
    remote._opened[0].close()
    remote._opened[0].close()
    assert remote.get(WHOLE) is None
    remote.put(WHOLE, b"two")
    assert remote.told == []
