"""The ledger against a provider's report: what is told apart, what is put together, and which cause is named."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.reconciling import CLASSES, Ours, Reconciliation, Row, Told, ToldCost, compare, plain_name
from headgate.policy.reconciling_causes import explain

DAY, NEXT = "2026-11-20", "2026-11-21"
MODEL = "claude-haiku-4-5"
COUNTS = {"input_tokens": 1_000, "output_tokens": 500}
COST = 3_500_000  # nano-dollars: 1,000 at $1 and 500 at $5 per million
RATES = {"input_tokens": 1_000_000, "output_tokens": 5_000_000, "web_searches": 10_000_000_000}


def ours(**more: object) -> Ours:
    told: dict[str, object] = {
        "day": DAY,
        "model": MODEL,
        "counts": dict(COUNTS),
        "requests": 2,
        "cost_nano": COST,
        "rates": RATES,
        **more,
    }
    return Ours(**told)  # type: ignore[arg-type]  # a test's keywords


def told(**more: object) -> Told:
    return Told(**{"day": DAY, "model": MODEL, "counts": dict(COUNTS), **more})  # type: ignore[arg-type]


def costs(nano: int = COST, model: str = MODEL, day: str = DAY, **more: str) -> list[ToldCost]:
    return [ToldCost(day, model, nano, **more)]


def reconciled(*args: object, **more: object) -> Reconciliation:
    found = compare(*args, **more)  # type: ignore[arg-type]
    explain(found)
    return found


def codes(found: Reconciliation) -> list[str]:
    return [cause.code for row in found.differing for cause in row.causes]


def only(found: Reconciliation) -> Row:
    assert len(found.rows) == 1, found.rows
    return found.rows[0]


def test_two_equal_sides_have_no_difference() -> None:
    found = reconciled([ours()], [told()], costs())
    assert not found.differing
    assert only(found).cost_differs == 0


def test_a_difference_within_the_tolerance_is_none() -> None:
    near = {**COUNTS, "input_tokens": 1_001}
    assert not reconciled([ours()], [told(counts=near)], costs()).differing
    assert reconciled([ours()], [told(counts=near)], costs(), tolerance=Fraction(0)).differing


@pytest.mark.parametrize("name", ["claude-haiku-4-5-20251001", "Claude-Haiku-4-5", "claude-haiku-4-5"])
def test_a_dated_name_is_the_same_model(name: str) -> None:
    found = reconciled([ours()], [told(model=name)], costs(model=name))
    assert not found.differing
    assert only(found).names == (() if name == MODEL else tuple(sorted({name, MODEL})))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gpt-6.1-sol", "gpt-6.1-sol"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("model-12345678", "model-12345678"),
    ],
)
def test_only_a_date_is_taken_from_a_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_two_names_with_exactly_the_same_counts_are_one_model() -> None:
    found = reconciled([ours(model="my-alias")], [told()], costs())
    assert not found.differing
    assert only(found).names == (MODEL, "my-alias")


def test_what_the_provider_has_and_we_have_not_went_past_headgate() -> None:
    more = told(counts={"input_tokens": 5_000, "output_tokens": 900}, key="apikey_1")
    found = reconciled([ours()], [more], costs(9_500_000))
    assert codes(found) == ["not_through_headgate"]
    assert "apikey_1 5,900" in only(found).causes[0].text


@pytest.mark.parametrize("advisors", [("claude-opus-4-5",), ("claude-opus-4-5", "claude-sonnet-5")])
def test_hops_under_other_models_are_in_the_row_of_the_one_that_answered_and_bypass_nothing(
    advisors: tuple[str, ...],
) -> None:
    every = {**COUNTS, "input_tokens": 1_000 + 700 * len(advisors)}
    hops = [told(model=model, counts={"input_tokens": 700}) for model in advisors]
    found = reconciled([ours(counts=every)], [told(), *hops], None)
    assert len(found.differing) == 1 + len(advisors)
    assert "not_through_headgate" not in [row.causes[0].code for row in found.differing if row.model == MODEL]
    assert codes(found)[-1] == "nested_usage" if len(advisors) == 1 else "nested_usage" in codes(found)


def test_a_model_that_only_the_provider_knows_went_past_headgate() -> None:
    assert codes(reconciled([], [told(requests=7)], costs())) == ["not_through_headgate"]


def test_as_many_requests_with_more_tokens_is_usage_that_was_not_told() -> None:
    more = told(counts={**COUNTS, "output_tokens": 900}, requests=2)
    assert codes(reconciled([ours()], [more], costs(5_500_000))) == ["usage_untold"]


def test_estimates_above_the_bill_are_named_with_their_money() -> None:
    high = ours(counts={**COUNTS, "output_tokens": 700}, cost_nano=4_500_000, estimated=1, estimated_nano=2_000_000)
    found = reconciled([high], [told()], costs())
    assert codes(found) == ["estimated"]
    assert "$0.002" in only(found).causes[0].text


def test_a_killed_process_explains_money_without_tokens() -> None:
    killed = ours(
        counts={},
        requests=1,
        cost_nano=9_000_000,
        estimated=1,
        estimated_nano=9_000_000,
        killed=1,
        killed_nano=9_000_000,
    )
    assert codes(reconciled([killed], [told()], costs())) == ["killed"]


def test_attempts_on_the_way_explain_what_the_provider_has_already() -> None:
    assert (
        codes(
            reconciled([ours(open=1, open_nano=5)], [told(counts={**COUNTS, "output_tokens": 800})], costs(5_000_000))
        )[0]
        == "open"
    )


def test_another_price_names_the_rate_that_differs() -> None:
    at = [
        ToldCost(DAY, MODEL, 1_000_000, kind="input_tokens"),
        ToldCost(DAY, MODEL, 3_000_000, kind="output_tokens"),
    ]
    found = reconciled([ours()], [told()], at)
    assert codes(found) == ["price"]
    assert "output tokens cost $6 per million there and $5 here" in only(found).causes[0].text
    assert "input tokens" not in only(found).causes[0].text


@pytest.mark.parametrize(
    ("factor", "words"), [(Fraction(1, 2), "batch"), (Fraction(11, 10), "inference_geo"), (2, "fast"), (3, "3 times")]
)
def test_another_price_as_a_whole_names_a_usual_factor(factor: Fraction | int, words: str) -> None:
    found = reconciled([ours()], [told()], costs(int(COST * factor)))
    assert codes(found) == ["price"]
    assert words in only(found).causes[0].text


def test_what_is_here_free_and_there_not_is_a_price() -> None:
    assert codes(reconciled([ours(cost_nano=0)], [told()], costs())) == ["price"]


def test_opposite_differences_on_two_days_are_calls_around_midnight() -> None:
    shifted = {"input_tokens": 1_100, "output_tokens": 550}
    rest = {"input_tokens": 900, "output_tokens": 450}
    found = reconciled(
        [ours(), ours(day=NEXT)],
        [told(counts=rest), told(day=NEXT, counts=shifted)],
        [*costs(3_150_000), *costs(3_850_000, day=NEXT)],
    )
    assert {cause.code for row in found.differing for cause in row.causes} >= {"day_boundary"}
    assert all(row.causes[0].code == "day_boundary" for row in found.differing)


def test_calls_that_ended_on_the_next_day_may_be_counted_there() -> None:
    found = reconciled([ours(late=1)], [told(counts={"input_tokens": 900, "output_tokens": 400})], costs(2_900_000))
    assert codes(found)[0] == "day_boundary"


def test_cache_writes_of_another_length_are_told_from_missing_ones() -> None:
    short = {"cache_write_tokens": 800}
    long = {"cache_write_long_tokens": 800}
    assert codes(reconciled([ours(counts=short)], [told(counts=long)], None))[0] == "cache_write_ttl"
    assert not reconciled([ours(counts=long)], [told(counts=short, split=False)], None).differing


def test_batches_are_the_cause_where_the_provider_tells_them_apart() -> None:
    batch = told(counts={"input_tokens": 4_000}, batch=True)
    assert "batch" in codes(reconciled([ours()], [told(), batch], costs(5_500_000)))


def test_a_service_tier_explains_a_cost_that_is_not_told() -> None:
    found = reconciled([ours()], [told(tier="priority")], [])
    assert codes(found) == ["service_tier"]


def test_a_report_without_our_model_is_behind() -> None:
    assert codes(reconciled([ours()], [], [])) == ["not_reported"]
    assert codes(reconciled([ours()], [told(counts={"input_tokens": 10, "output_tokens": 5})], costs(35_000))) == [
        "not_reported"
    ]


def test_searches_are_shared_among_the_models_that_searched() -> None:
    first = told(counts={**COUNTS, "web_searches": 3})
    second = told(model="claude-opus-5-5", counts={"web_searches": 1})
    both = [
        ours(counts={**COUNTS, "web_searches": 3}, cost_nano=COST + 30_000_000),
        ours(model="claude-opus-5-5", counts={"web_searches": 1}, cost_nano=10_000_000),
    ]
    at = [*costs(), ToldCost(DAY, "", 40_000_000, kind="web_searches")]
    assert not reconciled(both, [first, second], at).differing
    fewer = [ours(counts={**COUNTS, "web_searches": 2}, cost_nano=COST + 20_000_000), both[1]]
    assert "web_searches" in codes(reconciled(fewer, [first, second], at))


def test_running_code_is_billed_beside_the_tokens() -> None:
    found = reconciled([ours()], [told()], [*costs(), ToldCost(DAY, "", 50_000_000, kind="code_execution")])
    assert codes(found) == ["code_execution"]


def test_without_costs_only_tokens_are_compared() -> None:
    found = reconciled([ours()], [told()], None)
    assert not found.differing
    assert only(found).cost_differs is None


def test_a_killed_attempt_of_a_day_that_the_provider_does_not_know_is_a_difference() -> None:
    killed = ours(counts={}, requests=1, cost_nano=9, estimated=1, estimated_nano=9, killed=1, killed_nano=9)
    assert codes(reconciled([killed], [], []))[0] == "killed"


KEYS = {"apikey_a": "anthropic", "apikey_b": "team-b"}


def test_keys_are_compared_one_by_one_where_they_are_named() -> None:
    both = [ours(key="anthropic"), ours(key="team-b", requests=1)]
    same = [told(key="apikey_a"), told(key="apikey_b")]
    found = reconciled(both, same, None, keys=KEYS)
    assert [row.key for row in found.rows] == ["anthropic", "team-b"]
    assert not found.differing
    less = [told(key="apikey_a"), told(key="apikey_b", counts={"input_tokens": 1})]
    assert [row.key for row in reconciled(both, less, None, keys=KEYS).differing] == ["team-b"]


def test_keys_that_are_not_headgates_are_set_apart() -> None:
    other = told(key="apikey_z", counts={"input_tokens": 10**6})
    found = reconciled([ours(key="anthropic")], [told(key="apikey_a"), other], None, keys={"apikey_a": "anthropic"})
    assert not found.differing
    assert found.foreign == [other]


def test_a_cost_without_a_key_is_compared_only_where_one_key_was_used() -> None:
    alone = reconciled([ours(key="anthropic")], [told(key="apikey_a")], costs(), keys=KEYS)
    assert only(alone).cost_differs == 0
    both = [ours(key="anthropic"), ours(key="team-b")]
    shared = reconciled(both, [told(key="apikey_a"), told(key="apikey_b")], costs(2 * COST), keys=KEYS)
    assert [row.cost_differs for row in shared.rows] == [None, None]
    foreign = [told(key="apikey_a"), told(key="apikey_z")]
    assert only(reconciled([ours(key="anthropic")], foreign, costs(), keys=KEYS)).cost_differs is None


def test_a_cost_by_key_goes_to_its_key() -> None:
    both = [ours(key="anthropic"), ours(key="team-b")]
    at = [*costs(key="apikey_a"), *costs(key="apikey_b"), *costs(99, key="apikey_z")]
    found = reconciled(both, [told(key="apikey_a"), told(key="apikey_b")], at, keys=KEYS)
    assert [row.cost_differs for row in found.rows] == [0, 0]


COUNTED = st.fixed_dictionaries({}, optional={name: st.integers(0, 10**9) for name in CLASSES})
DAYS = st.sampled_from([DAY, NEXT, "2026-12-31", "9999-12-31"])
MODELS = st.sampled_from([MODEL, "claude-haiku-4-5-20251001", "gpt-6-luna", ""])
KEY_IDS = st.sampled_from(["", "apikey_a", "apikey_b", "apikey_z"])
OURS = st.builds(
    Ours, DAYS, MODELS, st.sampled_from(["anthropic", "team-b"]), COUNTED, st.integers(0, 9), st.integers(0, 10**12)
)
TOLD = st.builds(Told, DAYS, MODELS, KEY_IDS, COUNTED, st.none() | st.integers(0, 9))
TOLD_COSTS = st.builds(
    ToldCost, DAYS, MODELS, st.integers(0, 10**12), KEY_IDS, st.sampled_from([*CLASSES, "", "code_execution"])
)


@given(st.lists(OURS, max_size=6), st.lists(TOLD, max_size=6), st.lists(TOLD_COSTS, max_size=6))
def test_no_token_and_no_nano_dollar_gets_lost_on_either_side(
    mine: list[Ours], theirs: list[Told], at: list[ToldCost]
) -> None:
    found = reconciled(mine, theirs, at, tolerance=Fraction(0))
    for name in CLASSES:
        assert sum(row.ours.counts.get(name, 0) for row in found.rows) == sum(o.counts.get(name, 0) for o in mine)
        assert sum(row.theirs.counts.get(name, 0) for row in found.rows) == sum(t.counts.get(name, 0) for t in theirs)
    assert sum(row.ours.cost_nano for row in found.rows) == sum(o.cost_nano for o in mine)
    assert sum(row.theirs.cost_nano or 0 for row in found.rows) == sum(cost.nano for cost in at)
    assert all(row.causes for row in found.differing)


@given(st.lists(OURS, max_size=6), st.lists(TOLD, max_size=6), st.lists(TOLD_COSTS, max_size=6))
def test_with_keys_told_no_token_gets_lost_but_those_set_apart(
    mine: list[Ours], theirs: list[Told], at: list[ToldCost]
) -> None:
    found = reconciled(mine, theirs, at, keys=KEYS)
    for name in CLASSES:
        shown = sum(row.theirs.counts.get(name, 0) for row in found.rows)
        assert shown + sum(t.counts.get(name, 0) for t in found.foreign) == sum(t.counts.get(name, 0) for t in theirs)
        assert sum(row.ours.counts.get(name, 0) for row in found.rows) == sum(o.counts.get(name, 0) for o in mine)
    assert all(row.causes for row in found.differing)
