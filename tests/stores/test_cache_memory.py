"""The cache in memory: what it keeps, for how long, and what goes first."""

from __future__ import annotations

import threading
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.cache import Stored, intact, sealed
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.stores.cache_memory import MemoryCache

HEADERS = ((b"content-type", b"application/json"),)


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def an_answer(body: bytes = b"{}", *, expires: float = 2000.0) -> Stored:
    return Stored("whole", 200, HEADERS, body, made=1000.0, expires=expires, model="m", usage=Usage(3, output_tokens=4))


def test_what_was_put_is_got_until_it_expires() -> None:
    now = Now()
    cache = MemoryCache(now=now)
    cache.put("a:1", an_answer(b"one"))
    found = run_blocking(cache.get("a:1"))
    assert found is not None
    assert found.body == b"one"
    now.seconds = 1999.9
    assert run_blocking(cache.get("a:1")) is not None
    now.seconds = 2000.0
    assert run_blocking(cache.get("a:1")) is None
    assert cache.stats().entries == 0
    assert cache.stats().size == 0


def test_an_entry_that_has_expired_already_is_not_kept_and_drives_out_nothing() -> None:
    cache = MemoryCache(now=Now())
    cache.put("a:1", an_answer(expires=1000.0))
    assert cache.stats().entries == 0


def test_the_least_recently_used_goes_first_when_room_is_short() -> None:
    size = an_answer(b"x" * 1000).size + 2 * len("a:1")
    cache = MemoryCache(size * 9, now=Now())
    for number in range(9):
        cache.put(f"a:{number}", an_answer(b"x" * 1000))
    assert run_blocking(cache.get("a:0")) is not None  # used, so `a:1` is the oldest now
    cache.put("a:9", an_answer(b"x" * 1000))
    assert run_blocking(cache.get("a:1")) is None
    assert run_blocking(cache.get("a:0")) is not None
    assert cache.stats().evicted == 1
    assert cache.stats().size <= size * 9


def test_an_entry_larger_than_an_eighth_of_the_room_is_not_kept_and_takes_the_place_of_nothing() -> None:
    cache = MemoryCache(100_000, now=Now())
    cache.put("a:1", an_answer(b"small"))
    cache.put("a:2", an_answer(b"x" * 50_000))
    assert run_blocking(cache.get("a:2")) is None
    assert run_blocking(cache.get("a:1")) is not None


def test_a_new_answer_takes_the_old_ones_place_and_its_room() -> None:
    cache = MemoryCache(now=Now())
    cache.put("a:1", an_answer(b"x" * 5000))
    cache.put("a:1", an_answer(b"y"))
    found = run_blocking(cache.get("a:1"))
    assert found is not None
    assert found.body == b"y"
    assert cache.stats().entries == 1
    assert cache.stats().size < 5000


def test_forgetting_by_a_prefix_leaves_the_answers_of_others() -> None:
    cache = MemoryCache(now=Now())
    for key in ("a:1", "a:2", "b:1"):
        cache.put(key, an_answer())
    assert run_blocking(cache.forget("a:")) == 2
    assert run_blocking(cache.get("b:1")) is not None
    assert run_blocking(cache.forget()) == 1
    assert cache.stats().size == 0


def test_hits_and_misses_are_counted() -> None:
    cache = MemoryCache(now=Now())
    cache.put("a:1", an_answer())
    run_blocking(cache.get("a:1"))
    run_blocking(cache.get("a:2"))
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stored) == (1, 1, 1)


def test_a_cache_without_room_keeps_nothing() -> None:
    cache = MemoryCache(0, now=Now())
    cache.put("a:1", an_answer())
    assert run_blocking(cache.get("a:1")) is None


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3000), st.booleans()), max_size=60),
    st.integers(0, 60_000),
)
def test_the_bytes_it_says_are_those_of_its_entries_and_never_above_the_cap(
    steps: list[tuple[str, int, bool]], most: int
) -> None:
    cache = MemoryCache(most, now=Now())
    kept: dict[str, int] = {}
    for key, length, reads in steps:
        if reads:
            run_blocking(cache.get(key))
            continue
        stored = an_answer(b"x" * length)
        kept[key] = stored.size + 2
        cache.put(key, stored)
        there = [key for key in kept if cache.look(key) is not None]
        assert cache.stats().size == sum(kept[key] for key in there) <= most
        assert cache.stats().entries == len(there)


def test_many_threads_at_once_leave_its_account_right() -> None:
    cache = MemoryCache(200_000, now=Now())

    def work(seed: int) -> None:
        for turn in range(300):
            key = f"a:{(seed * 7 + turn) % 40}"
            cache.put(key, an_answer(b"x" * (turn % 900)))
            cache.look(f"a:{turn % 40}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run_blocking(cache.forget()) == 40
    assert cache.stats().size == 0


def test_a_seal_holds_for_one_key_and_for_every_field() -> None:
    made = sealed("a:1", an_answer(b"body"))
    assert intact("a:1", made)
    assert not intact("a:2", made)
    for change in ({"body": b"other"}, {"headers": ()}, {"status": 201}, {"usage": None}, {"expires": 1.0}):
        assert not intact("a:1", replace(made, **change))  # type: ignore[arg-type]  # fields of several types
