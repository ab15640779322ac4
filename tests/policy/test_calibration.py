"""What is learned from counted answers, and that what is charged from it is never below the bill."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.usage import Usage
from headgate.policy.calibration import (
    ENOUGH,
    GROUPS,
    LATENCY_SECONDS,
    MODELS,
    SILENT_RATE,
    THINKING,
    UNSEEN_LEAST,
    UNSEEN_MOST,
    Calibration,
    Density,
    Mean,
    Pool,
    Shown,
    widths,
)

MODEL = ("openai", "gpt-6-luna")
ENGLISH, CHINESE, EMOJI = "the keeper lowers the gate. ", "水門は運河の入口に立つ", "🌊📒"


_OTHER = re.compile(r"[^\x00-\x7f]")
_BEYOND = re.compile(r"[^\x00-\uffff]")


@cache
def tokens_of(text: str) -> int:
    """A tokenizer: four ASCII characters, or one other, or half an emoji."""
    others = len(_OTHER.findall(text))
    return -(-(len(text) - others) // 4) + others + len(_BEYOND.findall(text))


def shown(text: str, *, kinds: int = 0, seconds: float = 0.0, left: bool = False, hides: bool = False) -> Shown:
    raw = text.encode()
    wide, beyond = widths(raw)
    return Shown(len(raw), wide, beyond, 0, kinds, 0.0, seconds, left, hides=hides)


def taught(texts: list[str], *, kinds: int = 0, reasoning: int = 0, seconds: float = 0.0) -> Calibration:
    made = Calibration()
    for text in texts:
        usage = Usage(10, output_tokens=tokens_of(text) + reasoning, reasoning_tokens=reasoning)
        made.learn(*MODEL, usage, shown(text, kinds=kinds, seconds=seconds))
    return made


# Answers


def test_before_enough_was_learned_every_byte_is_a_token() -> None:
    made = taught([ENGLISH * 8] * (ENOUGH - 1))
    assert made.output(*MODEL, shown(ENGLISH)) == len(ENGLISH)
    assert taught([ENGLISH * 8] * ENOUGH).output(*MODEL, shown(ENGLISH)) < len(ENGLISH) / 2


def test_what_was_learned_of_one_model_says_nothing_of_another() -> None:
    made = taught([ENGLISH * 8] * 50)
    assert made.output("openai", "gpt-9", shown(ENGLISH)) == len(ENGLISH)
    assert made.output("acme", MODEL[1], shown(ENGLISH)) == len(ENGLISH)


def test_emoji_after_nothing_but_english_are_a_token_for_each_byte() -> None:
    made = taught([ENGLISH * 8] * 500)
    assert made.output(*MODEL, shown(EMOJI * 20)) == len(EMOJI.encode()) * 20 >= tokens_of(EMOJI * 20)


def test_chinese_after_nothing_but_english_is_never_charged_below_its_tokens() -> None:
    made = taught([ENGLISH * 8] * 500)
    for length in (1, 7, 50, 400):
        assert made.output(*MODEL, shown(CHINESE * length)) >= tokens_of(CHINESE * length)
        mixed = ENGLISH * length + CHINESE
        assert made.output(*MODEL, shown(mixed)) >= tokens_of(mixed)


def test_other_kinds_of_content_have_a_density_of_their_own() -> None:
    made = taught([ENGLISH * 8] * 100)
    assert made.output(*MODEL, shown(ENGLISH * 8, kinds=2)) == len(ENGLISH) * 8


def test_an_estimate_is_never_more_than_a_token_for_each_byte() -> None:
    rng = random.Random(1)
    made = Calibration()
    for _ in range(30):  # a density that nobody could learn
        made.learn(*MODEL, Usage(1, output_tokens=rng.randint(1, 400)), shown("x" * 400))
    assert made.output(*MODEL, shown("x" * 100)) <= 100


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), short=st.booleans())
def test_over_a_run_the_sum_of_the_estimates_is_not_below_the_truth_and_at_most_a_fifth_above(
    seed: int, short: bool
) -> None:
    rng = random.Random(seed)
    words = (ENGLISH, "débit ", CHINESE, "шлюз ", "42, ")
    made = Calibration()
    truth = charged = 0
    for number in range(400):
        text = "".join(rng.choices(words, (10, 2, 1, 1, 3), k=rng.randint(3, 10) if short else rng.randint(10, 60)))
        if number > 40 and rng.random() < 0.35:
            cut = text[: rng.randint(1, len(text))]
            truth += tokens_of(cut)
            charged += made.output(*MODEL, shown(cut))
        else:
            made.learn(*MODEL, Usage(1, output_tokens=tokens_of(text)), shown(text))
    assert truth <= charged <= truth * 1.3


def test_the_same_answers_in_the_same_order_give_the_same_estimates() -> None:
    texts = [ENGLISH * n + CHINESE for n in range(1, 30)]
    one, other = taught(texts), taught(texts)
    assert [one.output(*MODEL, shown(t)) for t in texts] == [other.output(*MODEL, shown(t)) for t in texts]


def test_each_further_estimate_needs_less_on_top_for_the_sum() -> None:
    made = taught([ENGLISH * n for n in range(8, 60)])
    found = [made.output(*MODEL, shown(ENGLISH * 9)) for _ in range(50)]
    assert found == sorted(found, reverse=True)


# What is not shown


def test_reasoning_that_is_not_shown_is_learned_and_charged() -> None:
    made = taught([ENGLISH * 8] * 40, reasoning=100)
    assert made.output(*MODEL, shown(ENGLISH * 8, hides=True)) >= tokens_of(ENGLISH * 8) + 100
    assert made.output(*MODEL, shown("", hides=True)) >= 100


def test_silence_of_a_model_nobody_knows_may_have_been_reasoning() -> None:
    quiet = Shown(silent=2.0, hides=True)
    assert Calibration().output(*MODEL, quiet) == 2 * SILENT_RATE
    assert taught([ENGLISH * 8] * 40).output(*MODEL, quiet) == 0  # it never does
    assert Calibration().output(*MODEL, Shown(silent=2.0)) == 0  # Anthropic says so


def test_thinking_that_has_begun_and_shows_nothing_is_charged_for_the_time_it_took() -> None:
    assert Calibration().output(*MODEL, Shown(kinds=THINKING, seconds=1.0)) == SILENT_RATE


def test_what_stands_for_thinking_that_was_sealed_is_a_token_for_each_byte() -> None:
    made = taught([ENGLISH * 8] * 40)
    assert made.output(*MODEL, Shown(100, sealed=100)) == 100


# What was on its way


def test_what_was_on_its_way_is_the_streams_own_rate_times_the_latency() -> None:
    made = taught([ENGLISH * 80] * 40)
    before = made.output(*MODEL, shown(ENGLISH * 80, seconds=2.0))
    left = taught([ENGLISH * 80] * 40).output(*MODEL, shown(ENGLISH * 80, seconds=2.0, left=True))
    rate = tokens_of(ENGLISH * 80) / 2.0
    assert rate * LATENCY_SECONDS <= left - before <= rate * LATENCY_SECONDS * 1.3


def test_without_a_rate_as_much_is_charged_as_could_be_on_its_way() -> None:
    assert Calibration().output(*MODEL, Shown(left=True)) == UNSEEN_MOST
    slow = Shown(content=4, seconds=10.0, left=True)
    assert Calibration().output(*MODEL, slow) == 4 + UNSEEN_LEAST
    fast = Shown(content=100_000, seconds=1.0, left=True)
    assert Calibration().output(*MODEL, fast) == 100_000 + UNSEEN_MOST


def test_a_stream_too_short_to_tell_is_taken_to_be_as_fast_as_its_model() -> None:
    made = taught([ENGLISH * 80] * 40, seconds=2.0)
    usual = tokens_of(ENGLISH * 80) / 2.0
    assert made.output(*MODEL, Shown(left=True)) == pytest.approx(usual * LATENCY_SECONDS, abs=1)


# Prompts


def body(words: str) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % words.encode()


def prompts(made: Calibration, sizes: list[int], *, cached: float = 0.0, system: bytes = b"s") -> None:
    for size in sizes:
        raw = body("x" * size)
        tokens = size // 4
        read = int(tokens * cached)
        made.learn_prompt(*MODEL, Usage(tokens - read, read), system, raw)


def test_a_prompt_of_an_unknown_kind_has_no_estimate() -> None:
    assert Calibration().prompt(*MODEL, b"", body("x" * 400), "cache_write_tokens") is None
    made = Calibration()
    prompts(made, [400] * (ENOUGH - 1))
    assert made.prompt(*MODEL, b"s", body("x" * 400), "cache_write_tokens") is None
    assert made.prompt(*MODEL, b"", b"", "input_tokens") is None


def test_a_short_prompt_of_openais_is_plain_input_because_it_is_not_cached() -> None:
    made = Calibration()
    prompts(made, [400 + n for n in range(20)])
    found = made.prompt(*MODEL, b"s", body("x" * 405), "cache_write_tokens")
    assert found is not None
    assert 101 <= found.input_tokens == found.prompt_tokens <= 120


def test_a_long_prompt_is_in_the_dearest_class_but_for_what_is_known_to_be_cheaper() -> None:
    made = Calibration()
    prompts(made, [80_000] * 60, cached=0.9)
    found = made.prompt(*MODEL, b"s", body("x" * 80_000), "cache_write_tokens")
    assert found is not None
    assert found.prompt_tokens >= 20_000
    assert found.prompt_tokens - found.cache_read_tokens >= 2_000
    assert found.cache_read_tokens >= 17_000
    other = made.prompt(*MODEL, b"another system prompt", body("x" * 80_000), "cache_write_tokens")
    assert other is not None
    assert (other.cache_read_tokens, other.input_tokens) == (0, 0)


@given(st.integers(0, 5_000), st.sampled_from([b"", b"s", b"t"]), st.booleans())
def test_an_estimated_prompt_never_has_more_tokens_than_bytes(size: int, system: bytes, wide: bool) -> None:
    made = Calibration()
    prompts(made, [40, 400, 500, 4_000] * 10)
    raw = body(("é" if wide else "x") * size)
    found = made.prompt(*MODEL, system, raw, "cache_write_tokens")
    assert found is None or 0 < found.prompt_tokens <= len(raw) + 1
    if found is not None:
        assert min(found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) >= 0


def test_what_a_call_is_likely_to_need_is_what_such_calls_needed() -> None:
    made = taught([ENGLISH * 8] * 20)
    assert made.expect(*MODEL, b"s", body("x" * 400)) == (None, tokens_of(ENGLISH * 8))
    prompts(made, [400] * 20)
    found, _ = made.expect(*MODEL, b"s", body("x" * 400))
    assert found == pytest.approx(100, abs=2)


# Keeping


def test_memory_is_bounded() -> None:
    made = Calibration()
    for number in range(GROUPS + 50):
        made.learn("p", f"m{number % (MODELS + 9)}", Usage(1, output_tokens=1), Shown(4))
        made.learn_prompt("p", "m", Usage(1), b"%d" % number, b"{}")
    assert len(made.models) <= MODELS + 1
    assert len(made.prompts) <= GROUPS


def test_what_is_old_counts_less() -> None:
    made = taught([ENGLISH * 8] * 12_000)
    before = made.output(*MODEL, shown("z" * 400))
    for _ in range(12_000):
        made.learn(*MODEL, Usage(1, output_tokens=200), shown("z" * 400))
    assert made.output(*MODEL, shown("z" * 400)) > before * 1.5


def test_of_many_answers_only_some_are_looked_at_and_new_kinds_of_prompts_always() -> None:
    made = Calibration()
    assert sum(made.due(*MODEL) for _ in range(256)) == 256
    assert sum(made.due(*MODEL) for _ in range(1_600)) == 100
    assert made.due("openai", "another")
    assert not made.due(*MODEL, Shown(10))
    assert made.due(*MODEL, Shown(10, kinds=THINKING))
    raw = body("x" * 400)
    assert made.prompt_due(*MODEL, b"s", raw)
    prompts(made, [400] * 64)
    assert not made.prompt_due(*MODEL, b"s", raw)
    assert made.prompt_due(*MODEL, b"another", raw)


def test_many_threads_learn_and_estimate_at_once() -> None:
    made = Calibration()

    def work(number: int) -> int:
        for _ in range(200):
            made.learn(*MODEL, Usage(1, output_tokens=56), shown(ENGLISH * 8))
            made.output(*MODEL, shown(ENGLISH))
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    assert made.models[MODEL].output.count == 1_600


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50))
def test_a_mean_is_between_its_margins(values: list[float]) -> None:
    mean = Mean()
    for value in values:
        mean.learn(value)
    assert 0 <= mean.below(Pool(), 1.0) <= mean.mean + 1e-6
    assert mean.above(Pool()) >= mean.mean


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e5), st.floats(0, 1)), min_size=1, max_size=40),
    st.floats(0, 1),
    st.floats(0, 1e6),
)
def test_no_density_is_negative_or_above_one(
    learned: list[tuple[float, float, float]], share: float, size: float
) -> None:
    density = Density()
    for where, length, ratio in learned:
        density.learn(where, length, ratio * length)
    assert 0 <= density.expected(share) <= 1
    assert 0 <= density.tokens(share, size, Pool()) <= size
    assert density.tokens(share, size, Pool()) >= min(size, density.expected(share) * size) * 0.999


@pytest.mark.parametrize(("text", "expected"), [("abc", (0, 0)), ("é", (2, 0)), ("水", (3, 0)), ("🌊é", (2, 4))])
def test_characters_are_told_apart_by_their_length(text: str, expected: tuple[int, int]) -> None:
    assert widths(text.encode()) == expected


def test_what_was_lost_with_a_connection_is_an_event_or_two() -> None:
    assert Calibration().output(*MODEL, Shown(content=4, lost=True)) == 4 + UNSEEN_LEAST
