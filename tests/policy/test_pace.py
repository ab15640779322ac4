"""When the next attempt may go: what is learned, from what, and what comes of it against the simulator's own limits."""

from __future__ import annotations

import random

import pytest
from benchmarks.pacing_model import OVERLOADS, SHAPES, Shape, simulate, simulate_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.usage import Usage
from headgate.policy.families import cache_reads_count, family
from headgate.policy.pace import Ceilings, Need, Pace, Paces
from headgate.policy.pace_bucket import Bucket
from headgate.policy.pace_ramp import FIRST
from headgate.policy.rate_facts import NO_FACTS, LimitFacts, RateFacts
from headgate.testing.simulator.limits import Limits

NOW = 1000.0


def requests(limit: int | None, remaining: int | None = None, reset: float | None = None) -> RateFacts:
    return RateFacts(requests=LimitFacts(limit, remaining, reset))


def told(facts: RateFacts, dialect: str = "openai", **more: Ceilings) -> Pace:
    """A pace that has had one answer, and has nothing in flight."""
    pace = Pace(dialect, NOW, **more)
    need = Need()
    assert pace.ask(need, NOW) == 0.0
    pace.observe(facts, 200, NOW, need=need)
    pace.correct(need, None, NOW)
    return pace


def go(pace: Pace, now: float, most: int = 100, **need: int) -> list[Need]:
    """As many as may go at `now`, each answered at once without a word about limits."""
    gone: list[Need] = []
    while len(gone) < most:
        one = Need(**need)
        if pace.ask(one, now) > 0:
            break
        pace.observe(NO_FACTS, 200, now, need=one)
        pace.correct(one, None, now)
        gone.append(one)
    return gone


def open_up(pace: Pace, now: float) -> list[Need]:
    """As many as may be in flight at once."""
    opened: list[Need] = []
    while len(opened) < 1000:
        need = Need()
        if pace.ask(need, now) > 0:
            return opened
        opened.append(need)
    return opened


def test_two_are_in_flight_until_the_first_answer_and_twice_as_many_per_round_trip_then() -> None:
    pace = Pace("anthropic", NOW)
    flying = open_up(pace, NOW)
    assert len(flying) == FIRST == 2
    for step, expected in enumerate([4, 8, 16, 32]):
        now = NOW + step + 1
        for need in flying:
            pace.observe(NO_FACTS, 200, now, need=need)
            pace.correct(need, None, now)
        flying = open_up(pace, now)
        assert len(flying) == expected


def test_answers_that_take_long_do_not_keep_known_limits_unused() -> None:
    pace = told(requests(600, 600))
    before = len(open_up(pace, NOW))
    assert before <= 3
    total = before
    for second in range(1, 13):
        total += len(open_up(pace, NOW + second))
    assert total >= 100


def test_a_provider_that_says_nothing_for_seconds_is_not_waited_for_two_by_two() -> None:
    pace = Pace("openai", NOW)
    assert len(open_up(pace, NOW)) == 2
    assert len(open_up(pace, NOW + 14.9)) == 0
    more = [len(open_up(pace, NOW + second)) for second in (15.1, 16, 17.2, 19.3, 21.4)]
    assert more == [2, 0, 4, 8, 16]
    assert pace.ask(Need(), NOW + 21.5) <= 2.0


def test_growing_too_fast_halves_what_may_be_in_flight() -> None:
    pace = Pace("anthropic", NOW)
    flying = open_up(pace, NOW)
    for step in range(4):
        for need in flying:
            pace.observe(NO_FACTS, 200, NOW + step, need=need)
            pace.correct(need, None, NOW + step)
        flying = open_up(pace, NOW + step)
    assert len(flying) == 32
    first, *rest = flying
    pace.observe(RateFacts(retry_after=2.0), 429, NOW + 5, need=first, code="ramp_limit_exceeded")
    for need in rest:
        pace.observe(RateFacts(retry_after=2.0), 429, NOW + 5.1, need=need, code="ramp_limit_exceeded")
    assert pace.in_flight == 0
    assert pace.ask(Need(), NOW + 6) == pytest.approx(1.1)
    flying = open_up(pace, NOW + 8)
    assert len(flying) == 16
    for need in flying:
        pace.observe(NO_FACTS, 200, NOW + 9, need=need)
        pace.correct(need, None, NOW + 9)
    assert len(open_up(pace, NOW + 9)) in (16, 17)  # one more per round trip, as long as rounding lets it


def test_a_round_of_refusals_halves_the_window_once() -> None:
    pace = Pace("openai", NOW)
    pace.observe(NO_FACTS, 200, NOW)
    flying = open_up(pace, NOW)
    for need in flying:
        pace.observe(NO_FACTS, 429, NOW + 1, need=need)
    assert pace.look(NOW + 1).window == 1
    assert pace.look(NOW + 1).blocked == 1.0


def test_what_is_left_goes_and_the_next_waits_for_the_refill() -> None:
    pace = told(requests(60, 3))
    assert len(go(pace, NOW)) in (3, 4)  # what is left is told rounded down
    wait = pace.ask(Need(), NOW)
    assert 0.0 < wait <= 1.01
    assert pace.ask(Need(), NOW + wait) == 0.0


@pytest.mark.parametrize("kind", ["input_tokens", "output_tokens", "tokens"])
def test_tokens_are_paced_by_the_limit_that_counts_them(kind: str) -> None:
    dialect = "openai" if kind == "tokens" else "anthropic"
    pace = told(RateFacts(**{kind: LimitFacts(60_000, 10_000)}), dialect)
    assert len(go(pace, NOW, **{kind: 4000})) == 2
    wait = pace.ask(Need(**{kind: 4000}), NOW)
    assert wait == pytest.approx(2.0, abs=0.51)
    other = "output_tokens" if kind == "input_tokens" else "input_tokens"
    assert pace.ask(Need(tokens=0, **{other: 4000}), NOW) == 0.0


def test_more_than_a_full_bucket_waits_for_the_full_bucket_and_no_longer() -> None:
    pace = told(RateFacts(tokens=LimitFacts(6000, 6000)))
    assert pace.ask(Need(tokens=50_000), NOW) == 0.0
    assert pace.ask(Need(tokens=1), NOW) > 400


def test_a_usage_below_its_estimate_gives_the_rest_back_and_one_above_takes_more() -> None:
    pace = told(RateFacts(output_tokens=LimitFacts(6000, 6000)), "anthropic")
    need = Need(output_tokens=5000)
    assert pace.ask(need, NOW) == 0.0
    assert pace.ask(Need(output_tokens=2000), NOW) > 0
    pace.correct(need, Usage(output_tokens=100), NOW)
    assert pace.look(NOW).levels[0].left == pytest.approx(5900, abs=501)
    need = Need(output_tokens=100)
    assert pace.ask(need, NOW) == 0.0
    pace.correct(need, Usage(output_tokens=3000), NOW)
    assert pace.look(NOW).levels[0].left == pytest.approx(2900, abs=501)
    pace.correct(need, Usage(output_tokens=3000), NOW)  # ended already
    assert pace.look(NOW).levels[0].left == pytest.approx(2900, abs=501)


def test_cache_reads_are_left_out_where_the_provider_leaves_them_out() -> None:
    usage = Usage(input_tokens=100, cache_read_tokens=900, cache_write_tokens=50)
    for counted, left in ((False, 9850), (True, 8950)):
        pace = Pace("anthropic", NOW, reads_count=counted)
        need = Need(input_tokens=1050)
        pace.ask(Need(), NOW)
        pace.observe(RateFacts(input_tokens=LimitFacts(10_000, 10_000)), 200, NOW)
        assert pace.ask(need, NOW) == 0.0
        pace.correct(need, usage, NOW)
        assert pace.look(NOW).levels[0].left == pytest.approx(left, abs=501)
    assert cache_reads_count("anthropic", "claude-3-5-haiku-20241022")
    assert not cache_reads_count("anthropic", "claude-haiku-4-5")


def test_estimates_are_scaled_by_what_comes_of_them() -> None:
    pace = told(RateFacts(output_tokens=LimitFacts(60_000, 60_000)), "anthropic")
    assert pace.cost(Need(output_tokens=4000)) == pytest.approx(4.0)
    for _ in range(10):
        need = Need(output_tokens=4000)
        assert pace.ask(need, NOW) == 0.0
        pace.observe(NO_FACTS, 200, NOW, need=need)
        pace.correct(need, Usage(output_tokens=400), NOW)
    assert pace.cost(Need(output_tokens=4000)) == pytest.approx(0.4)


def test_what_was_never_sent_is_there_again() -> None:
    pace = told(requests(60, 10), ceilings=Ceilings(requests_per_minute=600, tokens_per_minute=60_000))
    before = pace.look(NOW)
    need = Need(100, 100)
    assert pace.ask(need, NOW) == 0.0
    assert pace.look(NOW) != before
    pace.give_back(need, NOW)
    assert pace.look(NOW) == before
    assert pace.ask(need, NOW) == 0.0  # and may ask again
    with pytest.raises(ValueError, match="let go already"):
        pace.ask(need, NOW)


def test_others_on_the_same_account_are_followed() -> None:
    pace = told(requests(600, 600))
    need = Need()
    assert pace.ask(need, NOW) == 0.0
    pace.observe(requests(600, 2), 200, NOW + 0.1, need=need)
    assert pace.look(NOW + 0.1).levels[0].left <= 3


def test_more_room_than_we_thought_is_believed_step_by_step() -> None:
    pace = told(requests(600, 0))
    left = 0.0
    for _ in range(8):
        pace.observe(requests(600, 500), 200, NOW)
        now_left = pace.look(NOW).levels[0].left
        assert left < now_left <= 500
        left = now_left
    assert left > 490


def test_what_is_on_its_way_is_not_counted_twice() -> None:
    pace = told(requests(600, 600))
    for _ in range(50):
        pace.observe(NO_FACTS, 200, NOW)
    flying = open_up(pace, NOW)
    before = pace.look(NOW).levels[0].left
    # The provider has seen all of them, or none: both are what we know already.
    pace.observe(requests(600, int(before)), 200, NOW, need=flying[0])
    assert pace.look(NOW).levels[0].left == pytest.approx(before, abs=1)
    pace.observe(requests(600, min(600, int(before) + len(flying) - 2)), 200, NOW, need=flying[1])
    assert pace.look(NOW).levels[0].left == pytest.approx(before, abs=1)


def test_retry_after_is_waited_for_by_all() -> None:
    pace = told(requests(60, 30))
    need = Need()
    pace.ask(need, NOW)
    pace.observe(requests(60, 30)._replace(retry_after=7.0), 429, NOW, need=need)
    assert pace.in_flight == 0
    assert pace.ask(Need(), NOW) == pytest.approx(7.0)
    assert pace.ask(Need(), NOW + 7) == 0.0


def test_refusals_without_a_word_are_backed_off_from_exponentially_until_one_succeeds() -> None:
    pace = Pace("openai", NOW)
    now, waits = NOW, []
    for _ in range(9):
        need = Need()
        assert pace.ask(need, now) == 0.0
        pace.observe(NO_FACTS, 429, now + 0.1, need=need)
        waits.append(pace.look(now + 0.1).blocked)
        now += 0.1 + waits[-1]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    need = Need()
    assert pace.ask(need, now) == 0.0
    pace.observe(NO_FACTS, 200, now, need=need)
    pace.observe(NO_FACTS, 429, now + 1)
    assert pace.look(now + 1).blocked == pytest.approx(1.0)


def test_a_refusal_about_money_says_nothing_about_pace() -> None:
    pace = told(requests(60, 30))
    before = pace.look(NOW)
    need = Need()
    pace.ask(need, NOW)
    pace.observe(NO_FACTS, 429, NOW, need=need, code="insufficient_quota")
    assert pace.look(NOW) == before


def test_a_refusal_that_no_limit_explains_makes_bursts_smaller_for_a_while() -> None:
    pace = told(requests(600, 600))
    pace.observe(requests(600, 590)._replace(retry_after=0.1), 429, NOW)
    assert pace.look(NOW + 1).levels[0].left <= 75
    now = NOW
    while now < NOW + 1000:
        now += 100
        pace.look(now)
    assert pace.look(now + 60).levels[0].left > 500


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window"),
    [
        (14_400, 14_370, 179.56, 86_400.0),  # Groq, per day
        (200, 199, 432.0, 86_400.0),  # OpenAI's lowest tier
        (60, 59, 1.0, 60.0),
        (60, 0, 60.0, 60.0),
        (150_000, 149_984, 360.0, 60.0),  # OpenAI's own example, which no window explains
        (1000, 999, 3.6, 3600.0),
    ],
)
def test_a_limit_per_day_is_told_by_how_long_it_takes_to_fill(
    limit: int, remaining: int, reset: float, window: float
) -> None:
    pace = told(requests(limit, remaining, reset))
    assert pace.look(NOW).levels[0].per_second == pytest.approx(limit / window)


def test_a_reset_alone_tells_the_level() -> None:
    pace = told(requests(60, None, 50.0), "anthropic")
    assert pace.look(NOW).levels[0].left == pytest.approx(8, abs=2.1)


def test_anthropics_tokens_header_that_repeats_another_limit_is_no_limit_of_its_own() -> None:
    both = RateFacts(tokens=LimitFacts(8000, 0), output_tokens=LimitFacts(8000, 0), input_tokens=LimitFacts(50_000))
    assert [level.name for level in told(both, "anthropic").look(NOW).levels] == ["input_tokens", "output_tokens"]
    apart = both._replace(tokens=LimitFacts(5000, 0))
    assert "tokens" in [level.name for level in told(apart, "anthropic").look(NOW).levels]


def test_with_remainders_only_few_left_are_spread_over_the_minute() -> None:
    pace = told(requests(None, 100))
    assert len(go(pace, NOW, most=20)) == 20
    pace = told(requests(None, 30))
    go(pace, NOW, most=1)
    assert pace.ask(Need(), NOW) == pytest.approx(60 / 29, abs=0.1)
    pace = told(RateFacts(tokens=LimitFacts(None, 4000)))
    go(pace, NOW, most=1, tokens=1000)
    assert pace.ask(Need(tokens=1000), NOW) == pytest.approx(15.0, abs=5.0)
    pace = told(requests(None, 0))
    assert pace.ask(Need(), NOW) == pytest.approx(15.0)


def test_old_remainders_and_old_limits_are_forgotten() -> None:
    pace = told(requests(None, 0))
    assert pace.ask(Need(), NOW + 61) == 0.0
    pace = told(requests(60, 0))
    assert pace.look(NOW + 3600).levels[0].left == 60
    pace.observe(NO_FACTS, 200, NOW + 3600)
    assert not pace.known


def test_a_pause_lets_the_window_shrink_back() -> None:
    pace = Pace("openai", NOW)
    for _ in range(40):
        flying = open_up(pace, NOW)
        for need in flying[:1000]:
            pace.observe(NO_FACTS, 200, NOW, need=need)
            pace.correct(need, None, NOW)
        if len(flying) > 60:
            break
    assert pace.look(NOW).window > 60
    assert pace.look(NOW + 180).window < 20
    assert pace.look(NOW + 3600).window == 2


def test_an_attempt_that_nobody_ends_does_not_count_for_ever() -> None:
    pace = Pace("openai", NOW)
    assert len(open_up(pace, NOW)) == 2
    assert pace.ask(Need(), NOW + 14) > 0
    assert pace.in_flight == 2
    assert pace.ask(Need(), NOW + 3601) == 0.0
    assert pace.in_flight == 1


def test_a_ceiling_holds_without_any_headers_and_beside_wider_ones() -> None:
    for facts in (NO_FACTS, requests(6000, 6000)):
        pace = told(facts, ceilings=Ceilings(requests_per_minute=60))
        gone, now = 0, NOW
        while now < NOW + 60:
            gone += len(go(pace, now))
            now += 0.25
        assert 60 <= gone <= 70
    pace = told(NO_FACTS, ceilings=Ceilings(tokens_per_minute=6000))
    assert len(go(pace, NOW, input_tokens=250, output_tokens=250)) == 2


def test_limits_are_pooled_as_the_provider_pools_them() -> None:
    assert family("anthropic", "claude-opus-4-8") == family("anthropic", "claude-opus-4-5-20251101") == "claude-opus-4"
    assert family("anthropic", "claude-opus-5-5") != family("anthropic", "claude-opus-4-8")
    assert family("anthropic", "claude-haiku-4-5") != family("anthropic", "claude-sonnet-4-5")
    assert family("anthropic", "claude-opus-5-5", fast=True) == "claude-opus-5/fast"
    assert family("anthropic", "claude-3-5-sonnet-20241022") == "claude-3-5-sonnet"
    assert family("openai", "gpt-4o-2024-05-13") == family("openai", "gpt-4o") == "gpt-4o"
    assert family("openai", "gpt-4o-mini") != family("openai", "gpt-4o")
    assert family("openai", "claude-opus-4-8") == "claude-opus-4-8"
    assert len(family("openai", "x" * 10_000)) == 200


def test_paces_are_kept_by_account_and_family_and_idle_ones_make_room() -> None:
    paces = Paces(most=3)
    busy = paces.of("a", "m", "openai", NOW)
    assert paces.of("a", "m", "openai", NOW) is busy
    assert paces.of("b", "m", "openai", NOW) is not busy
    busy.ask(Need(), NOW)
    for n in range(50):
        paces.of("c", str(n), "openai", NOW)
    assert len(paces) == 3
    assert paces.of("a", "m", "openai", NOW) is busy


def test_a_bucket_never_holds_more_than_its_capacity_however_it_is_told() -> None:
    bucket = Bucket(60, NOW)
    bucket.learn(1e9, 0.0, 1.0, 0.0)
    bucket.refill(NOW + 1e6, 1.0)
    bucket.refill(NOW, 1.0)  # a clock that goes back changes nothing
    assert bucket.level == 60


FACTS = st.builds(
    LimitFacts,
    st.none() | st.integers(1, 10**12),
    st.none() | st.integers(0, 10**12),
    st.none() | st.floats(0, 172_800),
)
STEP = st.tuples(
    st.sampled_from(["ask", "answer", "correct", "give back", "tick"]),
    st.builds(RateFacts, *[st.none() | FACTS] * 4, st.none() | st.floats(0, 604_800)),
    st.sampled_from([200, 200, 200, 429, 500, 529]),
    st.integers(0, 10**6),
    st.sampled_from(["", "ramp_limit_exceeded", "insufficient_quota"]),
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["anthropic", "openai"]), st.lists(STEP, max_size=30), st.booleans())
def test_whatever_it_is_told_a_pace_gives_a_finite_wait_and_keeps_its_count(
    dialect: str, steps: list[tuple[str, RateFacts, int, int, str]], capped: bool
) -> None:
    pace = Pace(dialect, NOW, ceilings=Ceilings(60, 10_000) if capped else Ceilings())
    flying: list[Need] = []
    now = NOW
    for act, facts, status, number, code in steps:
        if act == "ask":
            need = Need(number, number // 7)
            wait = pace.ask(need, now)
            assert 0.0 <= wait < float("inf")
            if wait == 0.0:
                flying.append(need)
        elif act == "answer":
            need = flying[number % len(flying)] if flying else None
            pace.observe(facts, status, now, need=need, code=code)
            if status == 429 and need is not None:
                flying.remove(need)
        elif act == "tick":
            now += number / 1000
        elif flying:
            need = flying.pop(number % len(flying))
            if act == "correct":
                pace.correct(need, Usage(number, number // 3, 0, 0, number // 5), now)
            else:
                pace.give_back(need, now)
        assert pace.in_flight == len(flying)
        look = pace.look(now)
        assert look.window >= 1
        assert 0.1 <= look.share <= 1.0
        assert all(level.left <= level.limit for level in look.levels)
        assert all(value >= 0.0 for value in pace._pending())
    for need in flying:
        pace.correct(need, None, now)
    assert pace.in_flight == 0
    assert pace._pending() == (0.0, 0.0, 0.0, 0.0)


SMALL = [shape for shape in SHAPES if shape.promised and shape.rate < 9]


@pytest.mark.parametrize("overload", OVERLOADS)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def test_as_sole_consumer_fewer_than_1_percent_are_refused_and_the_work_ends_in_time(
    shape: Shape, overload: float
) -> None:
    run = simulate(shape, overload)
    assert run.refused_share < 0.01
    assert run.lateness <= 1.10
    assert run.first_in_flight <= 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SMALL), st.sampled_from([1.0, 3.0]), st.booleans())
def test_no_seed_breaks_the_promise(seed: int, shape: Shape, overload: float, at_once: bool) -> None:
    run = simulate(shape, overload, seed, at_once=at_once)
    assert run.refused_share < 0.01 or run.refused <= 1
    # All at once, what may be in flight has to grow first: two more round trips, and a pair of doublings.
    assert run.finished <= 1.10 * run.ideal + at_once * (3 * shape.latency + 8)


def test_four_consumers_that_do_not_know_each_other_settle_below_one_refusal_in_ten() -> None:
    shape = Shape("shared", "openai", Limits(requests_per_minute=500, tokens_per_minute=2_000_000))
    runs = simulate_shared(shape, 4, 3.0)
    assert sum(run.refused for run in runs) < 0.1 * sum(run.requests for run in runs)
    assert max(run.lateness for run in runs) <= 1.10


@given(st.randoms(use_true_random=False), st.integers(2, 60))
def test_answers_in_any_order_never_make_a_sole_consumer_believe_in_more_than_there_is(
    draw: random.Random, at_once: int
) -> None:
    """Each tells what was left when its request came in; by now others have taken more of it."""
    pace, left, now = Pace("openai", 0.0), 600.0, 0.0
    for _ in range(12):
        sent = []
        for _ in range(at_once):
            need = Need(1, 1)
            if pace.ask(need, now) == 0.0:
                sent.append(need)
        draw.shuffle(sent)  # on the way there
        told = []
        for need in sent:
            left -= 1
            told.append((need, int(left)))
        assert left >= -1
        now += 3.0
        left = min(600.0, left + 30.0)
        draw.shuffle(told)  # and on the way back
        for need, remaining in told:
            pace.observe(RateFacts(requests=LimitFacts(600, remaining, None)), 200, now, need=need)
            pace.correct(need, None, now)
        known = dict(pace.limits()).get("requests")
        assert known is not None
        assert known.level <= left + 1


def test_what_goes_fast_is_taken_from_every_limit_before_anybody_looks() -> None:
    pace = told(RateFacts(requests=LimitFacts(60, 60, 0.0), tokens=LimitFacts(6_000, 6_000, 0.0)))
    open_up(pace, NOW)
    for need in list(pace.flying):
        pace.observe(NO_FACTS, 200, NOW, need=need)
        pace.give_back(need, NOW)
    gone, now = 0, NOW
    while pace.ask(need := Need(50, 10), now) == 0.0:
        pace.observe(NO_FACTS, 200, now, need=need)
        gone += 1
        now += 0.001
        if gone % 7 == 0:
            left = {level.name: level.left for level in pace.look(now).levels}
            assert left["requests"] == pytest.approx(60 - gone, abs=1.1 + (now - NOW))
            assert left["tokens"] == pytest.approx(6_000 - 60 * gone, abs=(now - NOW + 0.1) * 100)
    assert gone == 60


def test_what_is_counted_far_beyond_its_estimate_stops_those_that_come_in_the_same_moment() -> None:
    pace = told(RateFacts(tokens=LimitFacts(6_000, 6_000, 0.0)))
    gone = go(pace, NOW, 10, input_tokens=10)
    assert len(gone) == 10
    large = Need(10)
    assert pace.ask(large, NOW) == 0.0
    assert pace.ask(Need(10), NOW) == 0.0
    pace.correct(large, Usage(input_tokens=7_000), NOW)
    assert pace.ask(Need(10), NOW) > 0


def test_where_limits_are_told_late_those_in_flight_count_against_them() -> None:
    pace = told(NO_FACTS)
    go(pace, NOW, 10)
    flying = [Need(100, 20) for _ in range(3)]
    for need in flying:
        assert pace.ask(need, NOW) == 0.0
    assert all(need.taken is None for need in flying)
    pace.observe(RateFacts(tokens=LimitFacts(6_000, 6_000, 0.0)), 200, NOW, need=flying[0])
    (level,) = pace.look(NOW).levels
    assert level.left == 6_000 - 2 * 120
    pace.give_back(flying[1], NOW)
    (level,) = pace.look(NOW).levels
    assert level.left == 6_000 - 120
