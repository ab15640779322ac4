"""When a prefix is marked for a provider's prompt cache, for how long, and what that can cost at most."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.usage import Usage
from headgate.policy import prompt_caching
from headgate.policy.prompt_caching import LONG, SHORT, Marks, Prefix, PromptCaching, smallest_prefix

SMALLEST = 1024


def prompt(*names: str, tokens: int = 5_000, leading: int = 1) -> list[Prefix]:
    """One prefix per name, each of them longer by so many tokens, the first ones leading."""
    said, found = "", []
    for n, name in enumerate(names, 1):
        said += f"/{name}"
        digest = hashlib.sha256(said.encode()).digest()[:16]
        found.append(Prefix(digest, n * tokens, n <= leading, n == len(names)))
    return found


class Provider:
    """A prompt cache as Anthropic's is: entries of 5 minutes and an hour, readable once the answer has begun."""

    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[float, float]] = {}
        self.paid = self.plain = 0.0

    def answer(self, found: Sequence[Prefix], marks: Marks, now: float) -> Usage:
        total = found[-1].tokens
        points = dict(marks.at)
        alive = [n for n in range(len(found)) if self.kept.get(found[n].digest, (0, 0))[0] > now]
        hit = max((n for n in alive if points and n <= max(points)), default=-1)
        read = reached = found[hit].tokens if hit >= 0 else 0
        short = long = 0
        for n, ttl in marks.at:
            if n > hit:
                more, reached = found[n].tokens - reached, found[n].tokens
                short, long = (short, long + more) if ttl == LONG else (short + more, long)
                self.kept[found[n].digest] = now + ttl, ttl
            else:
                self.kept[found[n].digest] = now + self.kept.get(found[n].digest, (0, ttl))[1], ttl
        self.paid += total - read - short - long + 0.1 * read + 1.25 * short + 2 * long
        self.plain += total
        return Usage(total - read - short - long, read, short, long)


def call(caching: PromptCaching, provider: Provider, found: Sequence[Prefix], now: float, place: str = "acme") -> Marks:
    marks = caching.look(place, found, SMALLEST, now)
    usage = provider.answer(found, marks, now)
    caching.begun(marks, now)
    caching.ended(marks, usage)
    return marks


def test_a_prefix_is_marked_from_its_second_sight_on_and_the_first_costs_nothing() -> None:
    caching, provider = PromptCaching(), Provider()
    marked = [call(caching, provider, prompt("system", f"question {n}"), n).at for n in range(4)]
    assert marked == [(), ((0, SHORT),), ((0, SHORT),), ((0, SHORT),)]


def test_a_prefix_that_comes_a_hundred_times_costs_less_than_a_fifth() -> None:
    caching, provider = PromptCaching(), Provider()
    for n in range(100):
        call(caching, provider, [*prompt("system", tokens=5_000), Prefix(b"%d" % n, 5_050, False, True)], n * 2.0)
    assert provider.paid < 0.2 * provider.plain


def test_where_nothing_comes_again_nothing_is_marked() -> None:
    caching, provider = PromptCaching(), Provider()
    for n in range(200):
        assert call(caching, provider, prompt(f"system {n}", f"question {n}"), n).at == ()
    assert provider.paid == provider.plain


def test_prefixes_that_come_exactly_twice_cost_little_more_than_three_percent_at_most() -> None:
    caching, provider = PromptCaching(), Provider()
    for n in range(400):
        call(caching, provider, prompt(f"system {n // 2}", f"question {n}"), n * 1.0)
    assert provider.paid <= 1.03 * provider.plain


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 4), st.sampled_from([1.0, 60.0, 290.0, 400.0, 2000.0, 4000.0])),
        min_size=1,
        max_size=150,
    ),
    st.sampled_from([2_000, 20_000]),
)
def test_whatever_comes_in_whatever_order_the_wagers_lose_no_more_than_their_share(
    calls: list[tuple[int, int, float]], tokens: int
) -> None:
    caching, provider = PromptCaching(), Provider()
    now = 0.0
    for system, turn, gap in calls:
        now += gap
        call(caching, provider, prompt(f"s{system}", f"t{turn}", f"now {now}", tokens=tokens), now)
    most = max(prompt_caching.STAKE, prompt_caching.SHARE * provider.plain, 3 * tokens * prompt_caching.LONG_PREMIUM)
    assert provider.paid - provider.plain <= most + 1


def test_a_conversation_is_marked_at_its_end_so_that_each_turn_reads_the_one_before() -> None:
    caching, provider = PromptCaching(), Provider()
    turns = ["system", *(f"turn {n}" for n in range(20))]
    for n in range(2, 20):
        call(caching, provider, prompt(*turns[:n], tokens=2_000), n * 30.0)
    assert provider.paid < 0.35 * provider.plain
    last = caching.look("acme", prompt(*turns[:20], tokens=2_000), SMALLEST, 600.0)
    assert max(n for n, _ in last.at) == 19
    assert len(last.at) <= 3


def test_gaps_of_twenty_minutes_are_marked_for_an_hour_and_never_on_one_sight() -> None:
    caching, provider = PromptCaching(), Provider()
    marked = [call(caching, provider, prompt("system", f"q {n}"), n * 1200.0).at for n in range(6)]
    assert marked[0] == ()
    assert (0, LONG) not in marked[1]
    assert marked[5] == ((0, LONG),)
    assert all(ttl == LONG for _, ttl in marked[4])


def test_gaps_of_hours_are_not_marked() -> None:
    caching, provider = PromptCaching(), Provider()
    marked = [call(caching, provider, prompt("system", f"q {n}"), n * 20_000.0).at for n in range(8)]
    assert marked == [()] * 8


def test_what_is_shorter_than_the_model_keeps_is_not_marked() -> None:
    caching, provider = PromptCaching(), Provider()
    assert [call(caching, provider, prompt("s", f"q {n}", tokens=400), n).at for n in range(4)] == [()] * 4


def test_while_one_writes_the_same_prefix_the_others_do_not_pay_for_writing_it_too() -> None:
    caching = PromptCaching()
    looks = [caching.look("acme", prompt("system", f"q {n}"), SMALLEST, 1.0) for n in range(5)]
    assert [bool(marks.at) for marks in looks] == [False, True, False, False, False]
    assert caching.awaited("acme", prompt("system", "another"), 1.0)
    caching.begun(looks[1], 2.0)
    assert not caching.awaited("acme", prompt("system", "another"), 2.0)
    assert caching.look("acme", prompt("system", "q 9"), SMALLEST, 2.0).at == ((0, SHORT),)


def test_a_write_that_failed_is_tried_by_the_next_call_and_costs_no_stake() -> None:
    caching = PromptCaching()
    for n in range(40):
        marks = caching.look("acme", prompt("system", f"q {n}"), SMALLEST, float(n))
        assert bool(marks.at) is (n > 0)
        caching.ended(marks, None)


def test_tenants_and_models_know_nothing_of_each_other() -> None:
    caching, provider = PromptCaching(), Provider()
    for n in range(3):
        call(caching, provider, prompt("system", f"q {n}"), n, place="acme")
    assert caching.look("other", prompt("system", "q"), SMALLEST, 4.0).at == ()


def test_an_entry_that_turns_out_to_be_gone_is_not_taken_to_be_there() -> None:
    caching = PromptCaching()
    found = prompt("system", "q")
    for n in range(3):
        marks = caching.look("acme", found, SMALLEST, float(n))
        caching.begun(marks, float(n))
    caching.ended(marks, Usage(10_000))
    assert caching.look("acme", found, SMALLEST, 4.0).writes


def test_an_hour_stands_before_five_minutes_never_behind() -> None:
    caching, provider = PromptCaching(), Provider()
    now = 0.0
    for n in range(12):
        now += 1200.0 if n % 3 else 10.0
        at = call(caching, provider, prompt("system", "shared", f"q {n}"), now).at
        lifetimes = [ttl for _, ttl in at]
        assert lifetimes == sorted(lifetimes, reverse=True)


def test_what_it_did_is_told_by_the_shared_beginning() -> None:
    caching = PromptCaching()
    for n in range(3):
        marks = caching.look("acme", prompt("system", f"q {n}"), SMALLEST, float(n))
        usage = Usage(100, 5_000 if n == 2 else 0, 5_000 if n == 1 else 0)
        caching.count("acme", "m", marks, usage, n * 10 - 5)
    (found,) = caching.stats()
    assert (found.calls, found.hits, found.read_tokens, found.written_tokens, found.saved_nano) == (
        3,
        1,
        5_000,
        5_000,
        15,
    )
    assert found.hit_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-opus-5-5", 512),
        ("claude-sonnet-5-5-20260929", 512),
        ("claude-opus-5", 512),
        ("claude-opus-4-8", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-sonnet-5", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-haiku-4-5-20251001", 4096),
        ("anthropic/claude-sonnet-4.6", 1024),
        ("claude-haiku-5-5", 4096),
        ("claude-nobody-9", 4096),
        ("claude-3-5-sonnet", 4096),
        ("gpt-5.6", None),
        ("my-model", None),
    ],
)
def test_the_smallest_prefix_is_the_models_own(model: str, tokens: int | None) -> None:
    assert smallest_prefix(model) == tokens


def test_prefixes_are_bounded_and_the_half_that_came_last_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_caching, "MOST_PREFIXES", 8)
    caching = PromptCaching()
    for n in range(50):
        caching.ended(caching.look("acme", prompt(f"prompt {n}"), SMALLEST, n), None)
        assert len(caching._seen) <= 8
        if n:
            assert caching.look("acme", prompt(f"prompt {n - 1}"), SMALLEST, n, again=True).repeats


def test_the_same_prompt_of_another_place_has_not_come_before() -> None:
    caching = PromptCaching()
    found = prompt("system", "question")
    caching.ended(caching.look("acme", found, SMALLEST, 0.0), None)
    assert not caching.look("other", found, SMALLEST, 1.0).repeats
    assert caching.look("acme", found, SMALLEST, 1.0).repeats
