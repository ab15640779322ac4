"""The audit: each change prices the very calls again, and no saving counts twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.usage import Usage
from headgate.policy.audit.calls import Call, with_prompt
from headgate.policy.audit.run import KINDS, Audit, Options, audit, settings_of
from headgate.policy.pricebook import PriceBook

NOW = 1_795_000_000.0  # November 2026
BOOK = PriceBook.load()
SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-4-5"
RATES = {
    SONNET: (2_000, 100, 2_500, 10_000),
    HAIKU: (1_000, 100, 1_250, 5_000),
}  # nano-dollars: input, read, write, output


def call(number: int = 0, **told: object) -> Call:
    base: dict[str, object] = {
        "at": NOW + number,
        "provider": "anthropic",
        "model": SONNET,
        "usage": Usage(input_tokens=1_000, output_tokens=500),
        "task": "answer",
        "dialect": "anthropic",
    }
    return Call(**{**base, **told})  # type: ignore[arg-type]  # a table of tests


def only(kind: str, calls: list[Call], **told: object) -> Audit:
    return audit(calls, BOOK, Options(frozenset({kind}), **told))  # type: ignore[arg-type]  # the same


def cost(model: str, plain: int = 0, read: int = 0, write: int = 0, output: int = 0) -> int:
    i, r, w, o = RATES[model]
    return plain * i + read * r + write * w + output * o


def test_the_cost_before_is_what_the_price_book_says_of_every_call() -> None:
    found = audit([call(n) for n in range(7)], BOOK)
    assert found.before_nano == 7 * cost(SONNET, plain=1_000, output=500)
    assert found.calls == 7


def test_nothing_recorded_is_an_audit_without_advice() -> None:
    found = audit([], BOOK)
    assert (found.calls, found.before_nano, found.after_nano, found.advice, found.gaps) == (0, 0, 0, [], [])


def test_the_same_request_again_within_the_hour_costs_nothing_and_after_it_costs_again() -> None:
    moments = (0, 10, 3_599, 3_601, 3_700)
    found = only("cache", [call(at, digest="d", owner="acme") for at in moments])
    assert found.saved_nano == 3 * cost(SONNET, plain=1_000, output=500)
    assert found.advice[0].calls == 3


def test_the_same_request_of_another_tenant_is_never_a_hit() -> None:
    found = only("cache", [call(0, digest="d", owner="acme"), call(1, digest="d", owner="globex")])
    assert found.advice == []


def test_an_answer_that_was_cut_short_would_not_have_been_kept() -> None:
    found = only("cache", [call(0, digest="d", whole=False), call(1, digest="d")])
    assert found.advice == []


def test_requests_without_a_digest_are_never_taken_for_the_same() -> None:
    found = only("cache", [call(n) for n in range(5)])
    assert found.advice == []
    assert any("digest" in gap for gap in found.gaps)


def test_a_simple_task_goes_to_the_next_smaller_model_at_that_models_prices() -> None:
    short = [call(n, task="classify", usage=Usage(input_tokens=300, output_tokens=10)) for n in range(20)]
    found = only("model", short)
    assert found.after_nano == 20 * cost(HAIKU, plain=300, output=10)
    assert settings_of(found.advice) == {"tasks": {"classify": {"model": f"anthropic/{HAIKU}"}}}


def test_a_task_with_long_answers_keeps_its_model() -> None:
    assert only("model", [call(n) for n in range(40)]).advice == []


def test_the_model_that_is_named_as_cheap_wins_over_the_smaller_sibling() -> None:
    short = [call(n, task="classify", usage=Usage(input_tokens=300, output_tokens=10)) for n in range(20)]
    found = only("model", short, cheap={"anthropic": "claude-haiku-5-5"})
    assert "claude-haiku-5-5" in found.advice[0].what


def test_a_cap_leaves_98_of_100_answers_as_they_are_and_cuts_what_runs_on() -> None:
    lengths = [100 + n for n in range(99)] + [4_096]
    calls = [call(n, usage=Usage(input_tokens=10, output_tokens=each), cap=4_096) for n, each in enumerate(lengths)]
    found = only("caps", calls)
    (advice,) = found.advice
    cap = settings_of([advice])["tasks"]["answer"]["max_tokens"]  # type: ignore[index]
    assert 198 <= cap < 300
    assert advice.calls == 1
    assert found.saved_nano == (4_096 - cap) * 10_000
    assert "4,096" in advice.what


def test_answers_that_hold_thinking_are_not_capped() -> None:
    calls = [call(n, usage=Usage(input_tokens=10, output_tokens=100 + n * 50, reasoning_tokens=50)) for n in range(50)]
    assert only("caps", calls).advice == []


def test_a_batch_costs_half_and_only_what_nobody_waits_for_goes_into_one() -> None:
    calls = [call(n, task="nightly", batch=n % 2 == 0) for n in range(10)]
    found = only("batch", calls)
    assert found.saved_nano * 2 == 5 * cost(SONNET, plain=1_000, output=500)
    assert only("batch", calls, batch_tasks=frozenset({"nightly"})).saved_nano == 2 * found.saved_nano


def test_a_repeated_system_prompt_is_sent_once_written_once_and_then_read_while_it_is_kept() -> None:
    calls = [
        call(n * 60, usage=Usage(input_tokens=9_000, output_tokens=10), system="s", system_tokens=8_000)
        for n in range(10)
    ]
    found = only("prompt_caching", calls)
    each = cost(SONNET, plain=1_000, output=10)
    assert found.after_nano == 10 * each + cost(SONNET, plain=8_000, write=8_000, read=8 * 8_000)


def test_calls_further_apart_than_five_minutes_take_the_hour_long_cache_where_it_pays() -> None:
    calls = [
        call(n * 600, usage=Usage(input_tokens=9_000, output_tokens=10), system="s", system_tokens=8_000)
        for n in range(10)
    ]
    found = only("prompt_caching", calls)
    each = cost(SONNET, plain=1_000, output=10)
    assert found.after_nano == 10 * each + 8_000 * 4_000 + cost(SONNET, plain=8_000, read=8 * 8_000)


def test_a_prompt_that_never_comes_again_is_not_advised_to_be_cached() -> None:
    calls = [call(n, usage=Usage(input_tokens=9_000), system=f"s{n}", system_tokens=8_000) for n in range(10)]
    assert only("prompt_caching", calls).advice == []


def test_a_prefix_shorter_than_the_model_caches_is_not_advised() -> None:
    calls = [call(n, model=HAIKU, usage=Usage(input_tokens=4_000), system="s", system_tokens=3_000) for n in range(9)]
    assert only("prompt_caching", calls).advice == []


def test_calls_before_the_writing_answer_has_begun_neither_read_nor_write() -> None:
    long = {"usage": Usage(input_tokens=9_000), "system": "s", "system_tokens": 8_000}
    calls = [call(0, **long), call(1, ready=NOW + 4, **long), call(2, **long), *(call(5 + n, **long) for n in range(7))]
    found = only("prompt_caching", calls)
    assert found.after_nano == 10 * cost(SONNET, plain=1_000) + cost(
        SONNET, plain=2 * 8_000, write=8_000, read=7 * 8_000
    )


def test_a_conversation_is_pruned_in_blocks_of_turns_and_keeps_its_system_prompt() -> None:
    prompts = [3_000 + 900 * (n + 1) for n in range(10)]
    calls = [
        call(n, session="s", system_tokens=3_000, usage=Usage(input_tokens=each)) for n, each in enumerate(prompts)
    ]
    found = only("pruning", calls)
    kept = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]  # turns: five do not fit, and all but the last go at once
    assert found.after_nano == sum(3_000 + 900 * turns for turns in kept) * 2_000
    assert settings_of(found.advice) == {"tasks": {"answer": {"history": {"tokens": 4_000}}}}


def test_a_conversation_that_begins_again_is_another_one() -> None:
    calls = [call(n, session="s", usage=Usage(input_tokens=1_000 + 900 * (n % 4))) for n in range(40)]
    assert only("pruning", calls).advice == []


def test_a_prompt_that_is_far_longer_than_its_tasks_others_is_shortened_to_the_limit() -> None:
    calls = [call(n, usage=Usage(input_tokens=1_000 if n else 90_000)) for n in range(30)]
    found = only("length", calls)
    assert found.saved_nano == (90_000 - 3_000) * 2_000
    assert found.advice[0].calls == 1


def test_a_call_whose_cost_is_not_on_record_stays_as_it_is() -> None:
    calls = [call(n, digest="d", fixed=True, charged_nano=77) for n in range(30)]
    found = audit(calls, BOOK)
    assert (found.before_nano, found.after_nano, found.fixed) == (30 * 77, 30 * 77, 30)


def test_a_model_without_a_price_keeps_what_it_was_charged_and_is_told() -> None:
    found = audit([call(0, provider="nobody", model="x", charged_nano=5)], BOOK)
    assert (found.before_nano, found.after_nano, found.unpriced) == (5, 5, 1)


_USAGES = st.builds(
    Usage,
    st.integers(0, 50_000),
    st.integers(0, 9_000),
    st.integers(0, 9_000),
    st.integers(0, 900),
    st.integers(0, 5_000),
)
_CALLS = st.lists(
    st.builds(
        Call,
        at=st.floats(NOW, NOW + 7_200),
        provider=st.just("anthropic"),
        model=st.sampled_from((SONNET, HAIKU, "claude-opus-5-5")),
        usage=_USAGES,
        task=st.sampled_from(("", "a", "b")),
        session=st.sampled_from(("", "s")),
        digest=st.sampled_from(("", "d", "e")),
        system=st.sampled_from(("", "p", "q")),
        system_tokens=st.integers(0, 9_000),
        batch=st.booleans(),
        fixed=st.booleans(),
        charged_nano=st.integers(0, 10**9),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(_CALLS)
def test_savings_add_up_to_the_whole_and_are_never_more_than_what_was_spent(calls: list[Call]) -> None:
    found = audit(calls, BOOK)
    assert found.before_nano - found.after_nano == sum(each.saved_nano for each in found.advice)
    assert all(each.saved_nano >= 0 for each in found.advice)
    assert 0 <= found.after_nano <= found.before_nano
    assert [each.kind for each in found.advice] == sorted((e.kind for e in found.advice), key=list(KINDS).index)
    for parts in found.parts.values():
        assert sum(part.cost_nano for part in parts) == found.before_nano


@given(_USAGES, st.integers(0, 80_000))
def test_a_shortened_prompt_has_exactly_the_tokens_it_is_let(usage: Usage, tokens: int) -> None:
    found = with_prompt(usage, tokens)
    assert found.prompt_tokens == min(usage.prompt_tokens, tokens)
    assert min(found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) >= 0


def test_two_changes_of_the_same_call_do_not_count_twice() -> None:
    calls = [
        call(n, batch=True, system="s", system_tokens=8_000, usage=Usage(input_tokens=9_000, output_tokens=10))
        for n in range(10)
    ]
    both = audit(calls, BOOK, Options(frozenset({"batch", "prompt_caching"})))
    assert both.saved_nano == only("batch", calls).saved_nano


@pytest.mark.parametrize("kind", KINDS)
def test_no_advice_is_given_of_a_kind_that_was_not_asked_for(kind: str) -> None:
    calls = [
        call(n, digest="d", batch=True, system="s", system_tokens=8_000, usage=Usage(input_tokens=9_000))
        for n in range(30)
    ]
    assert {each.kind for each in only(kind, calls).advice} <= {kind}
