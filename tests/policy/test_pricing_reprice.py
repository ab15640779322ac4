"""History under another price version: exact where the row can tell, and said where it cannot."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.usage import Iteration, Usage
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.pricefile import PriceFile
from headgate.policy.pricing import cost_nano
from headgate.policy.reprice import ASSUMED, BOUND, CONTEXT, EXACT, NO_PRICE, REASONS, UNPRICED, Charged, Repricer

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
OLD: dict[str, Any] = {
    "format": 1,
    "date": "2026-11-01",
    "source": "a test",
    "providers": {
        "openai": {
            "fallback": [],
            "models": [
                {
                    "id": "tiered",
                    "m": ["^", "tiered"],
                    "p": [[None, {"i": [1000, [10_000, 2000]], "o": 5000, "r": 100}]],
                    "v": [[{"service_tier": "priority"}, None, {"i": 3000, "o": 9000}]],
                },
                {"id": "plain", "m": ["=", "plain"], "p": [[None, {"i": 1000, "o": 5000}]]},
                {"id": "gone", "m": ["=", "gone"], "p": [[None, {"i": 1000, "o": 5000}]]},
                {"id": "gift", "m": ["=", "gift"], "p": [[None, {}]]},
            ],
        }
    },
}
NEW = copy.deepcopy(OLD)
NEW["date"] = "2026-12-01"
_MODELS = NEW["providers"]["openai"]["models"]
_MODELS[0]["p"] = [[None, {"i": [1100, [10_000, 2200]], "o": 5500, "r": 110}]]
_MODELS[1]["p"] = [[None, {"i": 2000, "o": 5000}]]
_MODELS[3]["p"] = [[None, {"i": 10, "o": 10}]]
del _MODELS[2]


def content(top: Any) -> tuple[bytes, str]:
    made = json.dumps(top).encode()
    return made, hashlib.sha256(made).hexdigest()


def book(top: Any, **options: Any) -> PriceBook:
    made, sha256 = content(top)
    return PriceBook.load(options.pop("overrides", {}), content=made, sha256=sha256, **options)


def repricer(target: PriceBook, *tops: Any) -> Repricer:
    files = {book(top).snapshot: PriceFile(content(top)[0]) for top in tops}
    return Repricer(target, files.get)


def charged(by: PriceBook, model: str, usage: Usage, seen: Usage | None = None, **more: Any) -> Charged:
    """An attempt charged by a book; `seen`: what the row keeps of its usage."""
    price = by.price_for("openai", model, AT)
    cost = more.pop("cost", cost_nano(price, usage, at=AT))
    return Charged("openai", model, more.pop("served", ""), AT, seen or usage, cost, price.version, **more)


counts = st.integers(0, 50_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@given(usage=usages, model=st.sampled_from(["tiered", "plain", "tiered-2026-01-01"]))
def test_a_row_of_the_standard_service_is_exact(usage: Usage, model: str) -> None:
    new = book(NEW)
    found, how = repricer(new, OLD).reprice(charged(book(OLD), model, usage))
    expected = cost_nano(new.price_for("openai", model, AT), usage, at=AT)
    assert found == expected
    assert how == EXACT or not expected or usage.prompt_tokens + usage.output_tokens == 0


@given(usage=usages)
def test_the_same_version_changes_nothing(usage: Usage) -> None:
    old = book(OLD)
    row = charged(old, "tiered", usage)
    assert repricer(old, OLD).reprice(row)[0] == row.cost_nano


@pytest.mark.parametrize(
    "usage",
    [
        Usage(100, output_tokens=10, service_tier="priority"),
        Usage(100, output_tokens=10, inference_geo="us"),
        Usage(100, output_tokens=10, iterations=(Iteration("compaction", "", 500), Iteration("message", "", 100))),
    ],
    ids=["tier", "geography", "nested"],
)
def test_a_row_charged_for_what_it_does_not_hold_is_kept_and_counted(usage: Usage) -> None:
    seen = Usage(usage.input_tokens, output_tokens=usage.output_tokens)
    row = charged(book(OLD), "tiered", usage, seen)
    assert repricer(book(NEW), OLD).reprice(row) == (row.cost_nano, CONTEXT)


def test_without_its_own_version_a_row_is_assumed_to_be_standard() -> None:
    row = charged(book(OLD), "plain", Usage(100))
    assert repricer(book(NEW)).reprice(row) == (200, ASSUMED)


def test_a_tier_that_is_dearer_only_now_makes_a_row_an_assumption() -> None:
    new = copy.deepcopy(NEW)
    new["providers"]["openai"]["models"][1]["v"] = [[{"service_tier": "flex"}, None, {"i": 500}]]
    row = charged(book(OLD), "plain", Usage(100))
    assert repricer(book(new), OLD).reprice(row) == (200, ASSUMED)


def test_audio_that_is_dearer_only_now_makes_a_row_an_assumption() -> None:
    new = copy.deepcopy(NEW)
    new["providers"]["openai"]["models"][1]["p"] = [[None, {"i": 2000, "o": 5000, "ia": 9000}]]
    row = charged(book(OLD), "plain", Usage(100))
    assert repricer(book(new), OLD).reprice(row) == (200, ASSUMED)


def test_what_was_free_and_is_not_any_more_is_an_assumption() -> None:
    assert repricer(book(NEW), OLD).reprice(charged(book(OLD), "gift", Usage(100))) == (1, ASSUMED)


def test_a_bound_that_was_charged_is_kept() -> None:
    old = book(OLD)
    row = charged(old, "plain", Usage(100), cost=77_000, estimated=True, bound_nano=77_000)
    assert repricer(book(NEW), OLD).reprice(row) == (77_000, BOUND)
    assert repricer(book(NEW)).reprice(row) == (77_000, BOUND)
    killed = Charged("openai", "plain", "", AT, Usage(), 5_000, "", True, 5_000)
    assert repricer(book(NEW), OLD).reprice(killed) == (5_000, BOUND)


def test_an_estimate_from_tokens_is_repriced_as_its_tokens() -> None:
    row = charged(book(OLD), "plain", Usage(100), estimated=True, bound_nano=77_000)
    assert repricer(book(NEW), OLD).reprice(row) == (200, EXACT)


def test_what_cost_nothing_because_nothing_was_sent_is_exact_and_the_unpriced_is_counted() -> None:
    again = repricer(book(NEW), OLD)
    assert again.reprice(Charged("openai", "plain", "", AT, Usage(), 0, "")) == (0, EXACT)
    assert again.reprice(Charged("openai", "plain", "", AT, Usage(), 0, "free")) == (0, EXACT)
    assert again.reprice(Charged("openai", "plain", "", AT, Usage(), 0, "unpriced")) == (0, UNPRICED)


def test_a_model_without_a_price_now_is_kept_or_charged_the_ceiling() -> None:
    row = charged(book(OLD), "gone", Usage(100))
    assert repricer(book(NEW), OLD).reprice(row) == (100, NO_PRICE)
    assert repricer(book(NEW, unknown=Unknown.ceiling(1)), OLD).reprice(row) == (100_000, EXACT)


def test_a_model_that_had_no_price_is_assumed_at_its_price_now() -> None:
    ceiling = Unknown.ceiling(50)
    old = copy.deepcopy(OLD)
    del old["providers"]["openai"]["models"][1]
    row = charged(book(old, unknown=ceiling), "plain", Usage(100))
    assert row.version.endswith("+ceiling")
    assert repricer(book(NEW, unknown=ceiling), old).reprice(row) == (200, EXACT)
    assert repricer(book(NEW, unknown=Unknown.ceiling(60)), old).reprice(row) == (200, ASSUMED)
    assert repricer(book(NEW), old).reprice(row) == (200, ASSUMED)


def test_the_model_that_served_is_repriced_where_it_has_a_price() -> None:
    old = book(OLD)
    row = charged(old, "plain", Usage(100), served="plain-20300101")
    assert repricer(book(NEW), OLD).reprice(row) == (200, EXACT)
    fallback = Charged("openai", "tiered", "plain", AT, Usage(100), 100, old.version)
    assert repricer(book(NEW), OLD).reprice(fallback) == (200, EXACT)


def test_the_discount_of_then_is_read_from_the_row_and_that_of_now_from_the_configuration() -> None:
    then = book(OLD, discounts={"openai": 1250})
    row = charged(then, "plain", Usage(1_000))
    assert row.version.endswith("+discount-12.5%")
    assert row.cost_nano == 875
    assert repricer(book(NEW, discounts={"openai": 5_000}), OLD).reprice(row) == (1_000, EXACT)


@pytest.mark.parametrize(
    "broken", ["+discount-", "+discount-x%", "+discount-999%", "+discount-1.234%", "+1234", "@", "+"]
)
def test_a_version_that_nobody_wrote_is_not_at_hand(broken: str) -> None:
    row = charged(book(OLD), "plain", Usage(100))
    made = Charged("openai", "plain", "", AT, row.usage, row.cost_nano, row.version + broken)
    assert repricer(book(NEW), OLD).reprice(made) == (200, ASSUMED)


def test_own_prices_that_have_changed_since_are_not_at_hand() -> None:
    own = {"acme": {"input": 1, "output": 1}}
    row = charged(book(OLD, overrides=own), "plain", Usage(100))
    assert repricer(book(NEW, overrides=own), OLD).reprice(row) == (200, EXACT)
    other = {"acme": {"input": 2, "output": 1}}
    assert repricer(book(NEW, overrides=other), OLD).reprice(row) == (200, ASSUMED)


def test_every_way_but_the_exact_one_has_its_reason() -> None:
    assert set(REASONS) == {ASSUMED, BOUND, CONTEXT, NO_PRICE, UNPRICED}
