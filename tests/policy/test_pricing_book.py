"""The price book: names, dates, overrides, unknown models, and what it refuses."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from headgate.core.errors import ConfigError, UnknownPrice
from headgate.core.usage import Usage
from headgate.policy import pricebook
from headgate.policy.model_names import same_model
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.pricefile import PriceFile
from headgate.policy.pricepins import PRICES_FILE, PRICES_SHA256, file_version, packaged, pinned_files, verify
from headgate.policy.pricing import cost_nano, doubts
from headgate.policy.told_doubts import ToldDoubts

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook.load()


def moment(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc]  # (year, month, day, hour...)


def nano(book: PriceBook, provider: str, model: str, at: float = AT, **counts: int) -> int:
    return cost_nano(book.price_for(provider, model, at), Usage(**counts), at=at)


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "CLAUDE-HAIKU-4-5", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-5-latest", "claude-opus-5"),
        ("anthropic", "claude-opus-5-20260724", "claude-opus-5"),
        ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("openai", "gpt-6-luna-2026-09-22", "gpt-6-luna"),
        ("openai", "gpt-6-luna-20260922", "gpt-6-luna"),
        ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("xai", "grok-4", "grok-4-0709"),
    ],
)
def test_a_name_finds_its_entry(provider: str, model: str, entry: str) -> None:
    price = BOOK.find(provider, model, AT)
    assert price is not None
    assert (price.entry, price.provider, price.model, price.source) == (entry, provider, model, "data")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "claude-haiku-4-5"),  # another provider's model
        ("anthropic", "gpt-4o"),
        ("anthropic", "claude-opus-5-6"),  # a newer sibling is not its elder
        ("openai", "gpt-6-luna-99999999"),
        ("my-openai", "gpt-4o"),  # a custom provider with a familiar word in its name
        ("anthropic-proxy", "claude-haiku-4-5"),
        ("acme", "claude-haiku-4-5"),
        ("", "gpt-4o"),
        ("openai", ""),
        ("openai", "whisper-1"),  # priced by the hour, which no usage counts
        ("openrouter", "stealth/crouton-alpha"),  # an empty price is not a price of nothing
    ],
)
def test_a_model_without_a_price_is_unknown_and_never_another_ones(provider: str, model: str) -> None:
    assert BOOK.find(provider, model, AT) is None
    with pytest.raises(UnknownPrice):
        BOOK.price_for(provider, model, AT)


def test_a_free_model_is_free_because_the_data_says_so() -> None:
    assert nano(BOOK, "openai", "omni-moderation-latest", input_tokens=10**6) == 0


def test_the_refusal_says_what_to_write() -> None:
    with pytest.raises(UnknownPrice) as caught:
        BOOK.price_for("openai", "gpt-9", AT)
    text = str(caught.value)
    assert 'prices: {"openai/gpt-9": {input:' in text
    assert "unknown_price: {ceiling_usd_per_mtok: 100}" in text
    assert caught.value.code == "unknown_price"


def test_the_refusal_quotes_no_control_characters_and_stays_short() -> None:
    with pytest.raises(UnknownPrice) as caught:
        BOOK.price_for("openai", "a\x1b[31m\n" + "b" * 10_000, AT)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_ceiling_charges_an_unknown_model_for_every_class_and_marks_the_row() -> None:
    book = PriceBook.load(unknown=Unknown.ceiling(100))
    price = book.price_for("acme", "m", AT)
    assert (price.source, price.version) == ("ceiling", "2026-11-20+ceiling")
    each = [
        Usage(1),
        Usage(cache_read_tokens=1),
        Usage(cache_write_tokens=1),
        Usage(cache_write_long_tokens=1),
        Usage(output_tokens=1),
        Usage(1, input_audio_tokens=1),
        Usage(1, service_tier="odd"),
    ]
    assert [cost_nano(price, usage, at=AT) for usage in each] == [100_000] * 7
    assert "acme" not in doubts(price, Usage(1), at=AT)[0]
    assert "ceiling" in doubts(price, Usage(1), at=AT)[0]


HAIKU = "claude-haiku-4-5"


def test_a_model_that_served_and_has_no_price_is_not_charged_the_price_of_the_one_asked_for() -> None:
    price = PriceBook.load(unknown=Unknown.ceiling(100)).price_served("anthropic", HAIKU, "claude-nonesuch-9", AT)
    assert (price.source, price.model) == ("ceiling", "claude-nonesuch-9")
    assert cost_nano(price, Usage(1), at=AT) == 100_000
    dearest = BOOK.price_served("anthropic", HAIKU, "claude-nonesuch-9", AT)
    assert dearest.version == "2026-11-20+ceiling"
    assert cost_nano(dearest, Usage(1), at=AT) >= 15_000  # Opus 4.1
    assert "claude-nonesuch-9" in doubts(dearest, Usage(1), at=AT)[0]


@pytest.mark.parametrize(
    ("provider", "asked", "served"),
    [
        ("anthropic", HAIKU, ""),
        ("anthropic", HAIKU, "claude-haiku-4-5-20300101"),
        ("openai", "gpt-4o", "gpt-4o-2030-01-01"),
        ("openai", "text-embedding-ada-002", "text-embedding-ada-002-v2"),
        ("mistral", "mistral-large-latest", "mistral-large-3011"),
        ("google", "gemini-2.5-flash", "models/gemini-2.5-flash"),
    ],
)
def test_a_snapshot_or_another_name_of_the_model_asked_for_is_that_model(
    provider: str, asked: str, served: str
) -> None:
    assert BOOK.price_served(provider, asked, served, AT).entry == BOOK.price_for(provider, asked, AT).entry


def test_a_version_of_a_model_is_no_snapshot_of_it() -> None:
    assert same_model("claude-haiku-4", "claude-haiku-4-20250514")
    assert not same_model("claude-haiku-4", "claude-haiku-4-5")
    assert not same_model("gpt-4o", "gpt-4o-mini")


def test_a_price_of_ones_own_for_the_model_asked_for_counts_under_whatever_name_it_answers() -> None:
    book = PriceBook.load({"acme/chat": {"input": 3, "output": 15}})
    assert book.price_served("acme", "chat", "llama-9", AT).source == "override"
    with pytest.raises(UnknownPrice):
        book.price_served("acme", "none", "llama-9", AT)


def test_a_doubt_is_told_again_after_an_hour_and_their_number_is_bounded() -> None:
    told = ToldDoubts()
    one = ("anthropic", "m", "v", ("a",))
    assert [told.news(one, AT + seconds) for seconds in (0, 1, 3_599, 3_600)] == [True, False, False, True]
    assert told.news(("anthropic", "m", "w", ("a",)), AT)
    for number in range(3_000):
        told.news(("anthropic", str(number), "v", ("a",)), AT)
    assert len(told._told) == 1_024


def test_a_known_model_is_not_charged_the_ceiling() -> None:
    book = PriceBook.load(unknown=Unknown.ceiling(100))
    assert nano(book, "anthropic", "claude-haiku-4-5", input_tokens=1) == 1_000


@pytest.mark.parametrize("wrong", ["a lot", -1, 0, True, None, "nan", float("inf"), [1], "1e9"])
def test_a_wrong_ceiling_is_a_config_error(wrong: object) -> None:
    with pytest.raises(ConfigError):
        Unknown.ceiling(wrong)


def test_unknown_is_either_refuse_or_a_ceiling() -> None:
    assert Unknown().policy == "refuse"
    assert Unknown(ceiling_pico=5).policy == "ceiling"
    with pytest.raises(ConfigError):
        Unknown("ceiling")
    with pytest.raises(ConfigError):
        Unknown("shrug")


def test_prices_follow_their_dates() -> None:
    assert nano(BOOK, "openai", "o3", moment(2025, 6, 9, 23, 59, 59), input_tokens=1) == 10_000
    assert nano(BOOK, "openai", "o3", moment(2025, 6, 10), input_tokens=1) == 2_000


def test_the_length_surcharge_of_the_past_is_kept_for_repricing() -> None:
    assert nano(BOOK, "anthropic", "claude-opus-4-6", moment(2026, 3, 12), input_tokens=200_001) == 200_001 * 10_000
    assert nano(BOOK, "anthropic", "claude-opus-4-6", moment(2026, 3, 13), input_tokens=200_001) == 200_001 * 5_000


def test_prices_follow_the_hour_even_when_they_were_asked_for_before() -> None:
    book = PriceBook.load()
    found = [
        nano(book, "deepseek", "deepseek-flash", moment(2026, 11, day, hour, minute), input_tokens=1_000)
        for day, hour, minute in ((19, 0, 59), (19, 1, 0), (19, 3, 59), (19, 4, 0), (19, 6, 0), (19, 10, 0), (20, 1, 0))
    ]
    assert found == [150_000, 300_000, 300_000, 150_000, 300_000, 150_000, 300_000]


def test_a_batch_discount_counts_from_its_date() -> None:
    usage = Usage(1_000)
    before, after = moment(2026, 10, 13), moment(2026, 10, 14)
    price = BOOK.price_for("anthropic", "claude-haiku-4-5", before)
    assert cost_nano(price, usage, at=before, batch=True) == 1_000_000
    price = BOOK.price_for("anthropic", "claude-haiku-4-5", after)
    assert cost_nano(price, usage, at=after, batch=True) == 500_000


def test_azure_keeps_surcharges_of_the_models_it_serves_and_not_their_discounts() -> None:
    price = BOOK.price_for("azure", "gpt-6-luna", AT)
    assert cost_nano(price, Usage(1_000, service_tier="priority"), at=AT) == 200_000
    assert cost_nano(price, Usage(1_000, service_tier="flex"), at=AT) == 200_000  # unknown there, so the dearest
    assert cost_nano(price, Usage(1_000), at=AT, batch=True) == 100_000


# Overrides


def test_a_provider_may_be_free() -> None:
    book = PriceBook.load({"local": "free"})
    assert nano(book, "local", "anything", input_tokens=10**6, output_tokens=10**6, web_searches=3) == 0
    assert nano(book, "local", "another", input_tokens=1) == 0


def test_an_override_for_a_model_wins_over_its_providers_which_wins_over_the_file() -> None:
    book = PriceBook.load({"openai": {"input": 7, "output": 70}, "openai/gpt-6-luna": {"input": 3, "output": 30}})
    assert nano(book, "openai", "gpt-6-luna", input_tokens=1) == 3_000
    assert nano(book, "openai", "gpt-6-sol", input_tokens=1) == 7_000
    assert nano(book, "openai", "gpt-9", input_tokens=1) == 7_000
    assert nano(book, "anthropic", "claude-haiku-4-5", input_tokens=1) == 1_000


def test_an_override_covers_the_dated_names_of_its_model_and_keeps_its_limits() -> None:
    book = PriceBook.load({"anthropic/claude-haiku-4-5": {"input": "0.9", "output": "4.5"}})
    price = book.price_for("anthropic", "claude-haiku-4-5-20251001", AT)
    assert price.source == "override"
    assert cost_nano(price, Usage(10), at=AT) == 9_000
    assert price.context_window == 200_000
    assert price.max_output_tokens == 64_000
    assert nano(book, "anthropic", "claude-haiku-5-5", input_tokens=10) == 1_000


def test_an_exact_override_wins_over_one_for_another_name_of_the_same_model() -> None:
    book = PriceBook.load(
        {
            "anthropic/claude-haiku-4-5": {"input": 2, "output": 2},
            "anthropic/claude-haiku-4-5-20251001": {"input": 3, "output": 3},
        }
    )
    assert nano(book, "anthropic", "claude-haiku-4-5-20251001", input_tokens=1) == 3_000
    assert nano(book, "anthropic", "claude-haiku-4-5", input_tokens=1) == 2_000


def test_a_model_name_may_hold_slashes() -> None:
    book = PriceBook.load({"hub/meta/llama:70b": {"input": 1, "output": 1}})
    assert nano(book, "hub", "meta/Llama:70b", input_tokens=1) == 1_000
    assert book.find("hub", "meta", AT) is None


def test_absent_classes_cost_the_dearest_sensible_rate_and_never_nothing() -> None:
    book = PriceBook.load({"acme": {"input": 3, "output": 15}})
    assert nano(book, "acme", "m", cache_read_tokens=1_000) == 3_000_000  # as input
    assert nano(book, "acme", "m", cache_write_tokens=1_000) == 3_750_000  # 1.25x
    assert nano(book, "acme", "m", cache_write_long_tokens=1_000) == 7_500_000  # twice the short write
    assert nano(book, "acme", "m", input_tokens=1_000, input_audio_tokens=1_000) == 3_000_000
    assert nano(book, "acme", "m", web_searches=1) == 10_000_000


def test_every_key_of_an_override_is_charged() -> None:
    price = {
        "input": 1,
        "output": 2,
        "cache_read": "0.1",
        "cache_write": 3,
        "cache_write_1h": 4,
        "input_audio": 5,
        "output_audio": 6,
        "cache_read_audio": 7,
        "web_search": 8,
    }
    book = PriceBook.load({"acme": price})
    assert nano(book, "acme", "m", cache_read_tokens=1_000) == 100_000
    assert nano(book, "acme", "m", cache_write_tokens=1) == 3_000
    assert nano(book, "acme", "m", cache_write_long_tokens=1) == 4_000
    assert nano(book, "acme", "m", input_tokens=2, input_audio_tokens=1) == 6_000
    assert nano(book, "acme", "m", output_tokens=2, output_audio_tokens=1) == 8_000
    assert nano(book, "acme", "m", cache_read_tokens=1, cache_read_audio_tokens=1) == 7_000
    assert nano(book, "acme", "m", web_searches=1) == 8_000_000


@pytest.mark.parametrize("three", [3, 3.0, "3", "3.000000", Decimal("3"), "3e0"])
def test_a_number_is_read_exactly_from_its_text(three: object) -> None:
    assert nano(PriceBook.load({"acme": {"input": three, "output": 0.3}}), "acme", "m", input_tokens=1) == 3_000


def test_a_float_is_the_decimal_that_was_written() -> None:
    book = PriceBook.load({"acme": {"input": 0.1, "output": 0.3}})
    assert nano(book, "acme", "m", input_tokens=10, output_tokens=10) == 4_000


def test_all_mistakes_in_overrides_are_told_at_once() -> None:
    wrong = {
        "a": {"input": -1, "output": "many"},
        "b": {"input": 1},
        "c": {"input": 1, "output": 1, "cached": 1},
        "d": "cheap",
        "e": {"input": True, "output": "0.0000001"},
        "/f": "free",
        "g/": "free",
        "h": {"input": "nan", "output": 10**9},
    }
    with pytest.raises(ConfigError) as caught:
        PriceBook.load(wrong)
    text = str(caught.value)
    assert len(caught.value.mistakes) == 11
    for part in ("a: `input`", "a: `output`", "b: `output` is missing", "'cached'", "d: write `free`", "at most 6"):
        assert part in text


def test_the_version_names_the_file_and_the_overrides() -> None:
    one = {"acme": {"input": 3, "output": 15}, "local": "free"}
    same = {"local": "free", "acme": {"output": "15.0", "input": 3.0}}
    other = {"acme": {"input": 3, "output": 16}, "local": "free"}
    assert BOOK.version == "2026-11-20"
    version = PriceBook.load(one).version
    assert version.startswith("2026-11-20+")
    assert len(version) == len("2026-11-20+") + 8
    assert PriceBook.load(same).version == version
    assert PriceBook.load(other).version != version
    assert PriceBook.load(one).price_for("acme", "m", AT).version == version


# The file and the cache


def test_a_price_file_with_another_hash_is_refused_with_what_to_do() -> None:
    content = packaged(PRICES_FILE).replace(b'"i":1000000', b'"i":1', 1)
    with pytest.raises(ConfigError, match="reinstall"):
        PriceBook.load(content=content)


def test_the_pin_is_the_hash_of_the_file() -> None:
    assert hashlib.sha256(packaged(PRICES_FILE)).hexdigest() == PRICES_SHA256
    assert f"prices-{BOOK.version}.json" == PRICES_FILE


def test_every_price_file_of_the_package_is_the_one_that_was_pinned() -> None:
    for name, sha256 in pinned_files().items():
        verify(packaged(name), sha256)
        assert file_version(PriceFile(packaged(name)).date, sha256) == name.removeprefix("prices-").removesuffix(
            ".json"
        )


def test_made_up_names_do_not_fill_the_memory() -> None:
    book = PriceBook.load(unknown=Unknown.ceiling(100))
    for number in range(5_000):
        book.find("anthropic", f"claude-haiku-4-5-{number}", AT)
        book.find("openai", f"made-up-{number}", AT)
    book.find("openai", "x" * 10**6, AT)
    for kept in (book.prices, book._absent):
        assert len(kept) <= pricebook._MOST_CACHED
        assert max(len(model) for _, model in kept) <= pricebook.LONGEST_NAME
    assert nano(book, "anthropic", "claude-haiku-4-5", input_tokens=1) == 1_000


def test_made_up_tiers_do_not_fill_the_memory() -> None:
    price = BOOK.price_for("openai", "gpt-6-sol", AT)
    for number in range(1_000):
        assert cost_nano(price, Usage(1, service_tier=f"tier-{number}"), at=AT) == 4_000
    assert len(price.schedule._contexts) <= 64


def test_a_known_price_is_found_again_without_a_search() -> None:
    assert BOOK.find("openai", "gpt-6-luna", AT) is BOOK.find("openai", "gpt-6-luna", AT)


def test_threads_share_a_book() -> None:
    book = PriceBook.load()
    wrong: list[object] = []

    def ask(seed: int) -> None:
        try:
            for number in range(500):
                name = f"claude-haiku-4-5-{seed}-{number}"
                if nano(book, "anthropic", name, input_tokens=1) != 1_000:
                    wrong.append(name)
        except Exception as error:  # any error at all is the failure this test looks for
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_importing_the_book_reads_no_price_file_and_no_json_library() -> None:
    code = "import sys, headgate.policy.pricebook; print([m for m in ('msgspec', 'genai_prices') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
