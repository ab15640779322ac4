"""Rate-limit headers: every form is read, and nothing that cannot be believed."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.policy.rate_facts import CONTRADICTORY, FAR, FAULTS, NO_FACTS, PAST, TWICE, UNREADABLE, LimitFacts, Seen
from headgate.testing.simulator.limits import AnthropicLimits, Limits, OpenAILimits, go_duration
from headgate.wire.ratelimits import _NAMES, MOST_LIMIT, MOST_RESET, MOST_RETRY_AFTER, read_limits

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def date(seconds: float) -> tuple[bytes, bytes]:
    return b"date", format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True).encode()


def reset_of(value: bytes, *more: tuple[bytes, bytes], dialect: str = "openai") -> float | None:
    facts = read_limits(dialect, [(b"x-ratelimit-reset-requests", value), *more], NOON).requests
    return None if facts is None else facts.reset


def test_the_simulators_anthropic_headers_are_read_whole() -> None:
    limits = AnthropicLimits(Limits(60, 30_000, 8_000), NOON)
    limits.admit(9_600, 0, NOON)
    facts = read_limits("anthropic", limits.headers(NOON), NOON)
    assert facts.requests == LimitFacts(60, 59, 1.0)
    assert facts.input_tokens == LimitFacts(30_000, 20_000, 20.0)
    assert facts.output_tokens == LimitFacts(8_000, 8_000, 0.0)
    assert facts.tokens == facts.input_tokens
    assert facts.retry_after is None


def test_the_simulators_openai_headers_are_read_whole() -> None:
    limits = OpenAILimits(Limits(requests_per_minute=60, tokens_per_minute=6_000), NOON)
    limits.admit(900, 100, NOON)
    facts = read_limits("openai", limits.headers(NOON), NOON)
    assert facts.requests == LimitFacts(60, 59, 1.0)
    assert facts.tokens == LimitFacts(6_000, 5_000, 10.0)
    assert facts.input_tokens is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"6m0s", 360.0),
        (b"1s", 1.0),
        (b"20ms", 0.02),
        (b"1m30.5s", 90.5),
        (b"1h0m1s", 3601.0),
        (b"7.66s", 7.66),
        (b"500us", 0.0005),
        (b"12", 12.0),
        (b"0.25", 0.25),
        (b" 3 ", 3.0),
        (b"%d" % (NOON + 30), 30.0),
        (b"%d" % ((NOON + 30) * 1000), 30.0),
        (b"2026-11-20T12:00:41Z", 41.0),
        (b"2026-11-20T12:00:41.500Z", 41.5),
        (b"2026-11-20T13:00:41+01:00", 41.0),
        (b"0", 0.0),
    ],
)
def test_a_reset_is_read_in_every_form(value: bytes, seconds: float) -> None:
    assert reset_of(value) == pytest.approx(seconds)
    assert reset_of(value, dialect="anthropic") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-1",
        b"-5s",
        b"soon",
        b"1x",
        b"1s2",
        b"nan",
        b"inf",
        b"1e9",
        b"9" * 40,
        b"2026-11-20T11:00:00Z",
        b"2036-11-20T11:00:00Z",
        b"2026-13-41T99:00:00Z",
        b"%d" % (NOON - 3600),
        b"500h",
        b"\xff\xfe",
        b"5s, 6s",
    ],
)
def test_a_reset_that_is_nonsense_past_or_absurd_is_dropped_alone(value: bytes) -> None:
    headers = [(b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-reset-requests", value)]
    assert read_limits("openai", headers, NOON).requests == LimitFacts(60, None, None)


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        (b"60", b"61", LimitFacts(60)),  # contradictory
        (b"60", b"-1", LimitFacts(60)),
        (b"1,000", b"900", LimitFacts(1000, 900)),
        (b"-1", b"0", None),  # Azure: nothing is told
        (b"0", b"0", None),
        (b"many", b"5", None),
        (b"60.5", b"5", None),
        (b"60", b"5.5", LimitFacts(60)),
        (b"1" * 15, b"5", None),
    ],
)
def test_counts_are_believed_field_by_field(limit: bytes, remaining: bytes, expected: LimitFacts | None) -> None:
    headers = [(b"x-ratelimit-limit-tokens", limit), (b"x-ratelimit-remaining-tokens", remaining)]
    assert read_limits("openai", headers, NOON).tokens == expected


def test_a_remainder_without_a_limit_is_kept() -> None:
    assert read_limits("openai", [(b"x-ratelimit-remaining-requests", b"7")], NOON).requests == LimitFacts(None, 7)


def test_a_remainder_that_rounding_has_put_above_its_limit_is_the_limit() -> None:
    headers = [
        (b"anthropic-ratelimit-input-tokens-limit", b"1500"),
        (b"anthropic-ratelimit-input-tokens-remaining", b"2000"),
    ]
    assert read_limits("anthropic", headers, NOON).input_tokens == LimitFacts(1500, 1500)


def test_a_field_told_twice_differently_is_dropped_and_told_twice_alike_is_kept() -> None:
    twice = [(b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-limit-requests", b"60")]
    assert read_limits("openai", twice, NOON).requests == LimitFacts(60)
    assert read_limits("openai", [*twice, (b"x-ratelimit-limit-requests", b"70")], NOON).requests is None


def test_of_two_families_the_dialects_own_wins() -> None:
    both = [(b"x-ratelimit-limit-requests", b"10"), (b"anthropic-ratelimit-requests-limit", b"20")]
    assert read_limits("openai", both, NOON).requests == LimitFacts(10)
    assert read_limits("anthropic", both, NOON).requests == LimitFacts(20)
    assert read_limits("anthropic", both[:1], NOON).requests == LimitFacts(10)
    assert read_limits("openai", both[1:], NOON).requests == LimitFacts(20)


def test_of_an_organisations_and_a_projects_token_limit_the_smaller_counts() -> None:
    headers = [(b"x-ratelimit-limit-tokens", b"1000"), (b"x-ratelimit-limit-project-tokens", b"100")]
    assert read_limits("openai", headers, NOON).tokens == LimitFacts(100)
    headers[1] = (b"x-ratelimit-limit-project-tokens", b"5000")
    assert read_limits("openai", headers, NOON).tokens == LimitFacts(1000)


def test_fast_mode_has_limits_of_its_own_and_the_standard_ones_where_it_has_none() -> None:
    headers = [(b"anthropic-fast-input-tokens-limit", b"50"), (b"anthropic-ratelimit-input-tokens-limit", b"90")]
    headers.append((b"anthropic-ratelimit-requests-limit", b"7"))
    assert read_limits("anthropic", headers, NOON).input_tokens == LimitFacts(90)
    fast = read_limits("anthropic", headers, NOON, fast=True)
    assert (fast.input_tokens, fast.requests) == (LimitFacts(50), LimitFacts(7))


@pytest.mark.parametrize("skew", [-7200.0, -30.0, 30.0, 7200.0])
def test_a_moment_is_taken_by_the_providers_clock(skew: float) -> None:
    there = NOON + skew
    moment = datetime.fromtimestamp(there + 20, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    assert reset_of(moment, date(there)) == pytest.approx(20.0)
    assert reset_of(b"%d" % (there + 20), date(there)) == pytest.approx(20.0)
    assert reset_of(b"20s", date(there)) == pytest.approx(20.0)


def test_a_date_within_two_seconds_is_no_other_clock() -> None:
    assert reset_of(b"2026-11-20T12:00:20Z", date(NOON - 1)) == pytest.approx(20.0)


def test_a_date_that_is_none_changes_nothing() -> None:
    assert reset_of(b"2026-11-20T12:00:20Z", (b"date", b"yesterday")) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"20")], 20.0),
        ([(b"retry-after", b"20"), (b"retry-after-ms", b"1500")], 1.5),
        ([date(NOON + 3600), (b"retry-after", date(NOON + 3610)[1])], 10.0),
        ([(b"retry-after", b"-3")], None),
        ([(b"retry-after", b"never")], None),
        ([(b"retry-after", b"1e12")], None),
        ([(b"retry-after", date(NOON - 100)[1])], 0.0),
    ],
)
def test_retry_after_is_seconds_from_now(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert read_limits("openai", headers, NOON).retry_after == seconds


def test_an_answer_without_such_headers_tells_nothing() -> None:
    assert read_limits("openai", [(b"content-type", b"application/json"), date(NOON)], NOON) is NO_FACTS


NAMES = sorted(_NAMES)
SHAPED = st.from_regex(rb"[-+]?[0-9.,]{0,20}(ms|s|m|h|Z|T|:|-)?[0-9a-zA-Z:+.-]{0,20}", fullmatch=True)


@given(
    st.sampled_from(["anthropic", "openai"]),
    st.lists(st.tuples(st.sampled_from(NAMES) | st.binary(max_size=8), st.binary(max_size=80) | SHAPED), max_size=30),
    st.booleans(),
)
@example("openai", [(b"x-ratelimit-reset-tokens", b"0001-01-01T00:00:00+23:59")], False)
@example("openai", [(b"date", b"Mon, 01 Jan 0001 00:00:00 +2359"), (b"retry-after", b"1")], False)
@example("openai", [(b"retry-after", b"Fri, 31 Dec 9999 23:59:59 -2359")], False)
def test_any_bytes_give_facts_that_hold(dialect: str, headers: list[tuple[bytes, bytes]], fast: bool) -> None:
    seen = Seen()
    facts = read_limits(dialect, headers, NOON, fast=fast)
    assert read_limits(dialect, headers, NOON, fast=fast, seen=seen) == facts
    assert seen.faults <= set(FAULTS)
    assert facts.retry_after is None or 0 <= facts.retry_after <= MOST_RETRY_AFTER
    for told in facts[:4]:
        if told is None:
            continue
        assert told != LimitFacts()
        assert told.limit is None or 1 <= told.limit <= MOST_LIMIT
        assert told.remaining is None or 0 <= told.remaining <= (told.limit or MOST_LIMIT)
        assert told.reset is None or 0 <= told.reset <= MOST_RESET


@given(st.floats(0, 86_400))
def test_what_go_prints_is_read_back_to_the_millisecond(seconds: float) -> None:
    read = reset_of(go_duration(seconds))
    assert read is not None
    assert seconds - 1e-6 <= read <= seconds + 0.001 + 1e-6


def looked_at(*headers: tuple[bytes, bytes], dialect: str = "openai") -> Seen:
    seen = Seen()
    read_limits(dialect, headers, NOON, seen=seen)
    return seen


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([(b"x-ratelimit-reset-requests", b"2026-11-20T11:00:00Z")], PAST),
        ([(b"x-ratelimit-reset-requests", b"%d" % (NOON - 3600))], PAST),
        ([(b"x-ratelimit-reset-requests", b"500h")], FAR),
        ([(b"x-ratelimit-reset-requests", b"soon")], UNREADABLE),
        ([(b"x-ratelimit-reset-requests", b"9" * 100)], UNREADABLE),
        ([(b"x-ratelimit-limit-tokens", b"many")], UNREADABLE),
        ([(b"x-ratelimit-limit-tokens", b"60"), (b"x-ratelimit-remaining-tokens", b"-1")], UNREADABLE),
        ([(b"x-ratelimit-limit-tokens", b"60"), (b"x-ratelimit-remaining-tokens", b"61")], CONTRADICTORY),
        ([(b"x-ratelimit-limit-tokens", b"60"), (b"x-ratelimit-limit-tokens", b"61")], TWICE),
        ([(b"retry-after", b"never")], UNREADABLE),
    ],
)
def test_why_a_field_was_dropped_is_told(headers: list[tuple[bytes, bytes]], fault: str) -> None:
    assert looked_at(*headers).faults == {fault}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-ratelimit-limit-tokens", b"-1"), (b"x-ratelimit-remaining-tokens", b"-1")],  # Azure: there is none
        [(b"x-ratelimit-limit-tokens", b"0"), (b"x-ratelimit-remaining-tokens", b"0")],
        [(b"x-ratelimit-limit-requests", b"1,000"), (b"x-ratelimit-reset-requests", b"6m0s")],
        [(b"x-ratelimit-limit-tokens", b"60"), (b"x-ratelimit-limit-tokens", b"60")],
        [(b"retry-after", b"20"), date(NOON)],
    ],
)
def test_what_is_in_order_is_no_fault(headers: list[tuple[bytes, bytes]]) -> None:
    seen = looked_at(*headers)
    assert seen.faults == set()
    assert seen.told == any(name.startswith(b"x-ratelimit") for name, _ in headers)


def test_the_simulators_headers_have_no_fault_in_either_dialect() -> None:
    anthropic = AnthropicLimits(Limits(60, 30_000, 8_000), NOON)
    openai = OpenAILimits(Limits(requests_per_minute=60, tokens_per_minute=6_000), NOON)
    assert looked_at(*anthropic.headers(NOON), dialect="anthropic").faults == set()
    assert looked_at(*openai.headers(NOON)).faults == set()


@pytest.mark.parametrize(("ahead", "told"), [(-42.0, -42.0), (90.0, 90.0), (1.0, 0.0), (-2.0, 0.0)])
def test_how_far_a_providers_clock_is_ahead_is_told_beyond_its_whole_seconds(ahead: float, told: float) -> None:
    assert looked_at(date(NOON + ahead)).skew == told


def test_without_a_date_nothing_is_known_of_a_clock() -> None:
    assert looked_at((b"x-ratelimit-limit-tokens", b"60")).skew is None
    assert looked_at((b"date", b"yesterday")).skew is None
