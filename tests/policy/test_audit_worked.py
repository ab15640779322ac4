"""Two worked cases of docs/audit.md: a feature four times over its budget, and a third off a bill."""

from __future__ import annotations

import random
from functools import cache

from headgate.core.usage import Usage
from headgate.policy.audit.calls import Call
from headgate.policy.audit.run import Audit, Options, audit
from headgate.policy.pricebook import PriceBook

DAY = 1_794_960_000.0  # a midnight in November 2026
DOLLAR = 10**9
BOOK = PriceBook.load()
MODEL = "claude-sonnet-5-5"


@cache
def feature() -> list[Call]:
    """A day of a support assistant: one 8,000-token system prompt for all it does, `max_tokens: 4096` everywhere, and
    answers that run on to it now and then."""
    draw = random.Random(7)
    found = []
    for number in range(37_700):
        task = draw.choices(("classify", "summarise", "answer"), (5, 3, 2))[0]
        length = {"classify": 30, "summarise": 320, "answer": 1_000}[task] * draw.uniform(0.6, 1.4)
        output = 4_096 if draw.random() < 0.015 else round(length)
        at = DAY + number * 86_400 / 37_700
        found.append(
            Call(
                at=at,
                ready=at + 1.0,
                provider="anthropic",
                model=MODEL,
                usage=Usage(input_tokens=8_000 + draw.randint(300, 1_200), output_tokens=output),
                task=task,
                feature="assistant",
                system="handbook",
                system_tokens=8_000,
                cap=4_096,
            )
        )
    return found


def test_a_feature_at_800_dollars_a_day_fits_a_budget_of_200() -> None:
    found = audit(feature(), BOOK)
    assert 780 * DOLLAR < found.before_nano < 820 * DOLLAR
    assert found.after_nano < 200 * DOLLAR
    kinds = [each.kind for each in found.advice]
    assert {"model", "caps", "prompt_caching"} == set(kinds)
    # The system prompt is nine tenths of what is sent: nothing else saves as much.
    assert found.saved_by("prompt_caching") > found.saved_nano / 2
    told = [each.what for each in found.advice if each.kind == "caps"]
    assert all("not 4,096" in what for what in told)


def test_the_feature_without_a_word_about_the_model_saves_most_of_it_all_the_same() -> None:
    found = audit(feature(), BOOK, Options(frozenset({"caps", "prompt_caching"})))
    assert found.after_nano < found.before_nano * 0.45


def bill() -> list[Call]:
    """Two hours of a team's calls: an assistant with a 2,500-token system prompt, a nightly job that nobody waits for,
    and a search that is sometimes given whole documents."""
    draw = random.Random(11)
    found = []
    for number in range(6_000):
        at = DAY + number * 1.2
        task = draw.choices(("assistant", "nightly", "search"), (50, 25, 25))[0]
        odd = task == "search" and draw.random() < 0.02
        usage = {
            "assistant": Usage(input_tokens=2_500 + draw.randint(800, 1_600), output_tokens=draw.randint(400, 900)),
            "nightly": Usage(input_tokens=draw.randint(3_000, 5_000), output_tokens=draw.randint(500, 700)),
            "search": Usage(
                input_tokens=60_000 if odd else draw.randint(2_000, 4_000), output_tokens=draw.randint(300, 600)
            ),
        }[task]
        found.append(
            Call(
                at=at,
                ready=at + 0.8,
                provider="anthropic",
                model=MODEL,
                usage=usage,
                task=task,
                system="assistant" if task == "assistant" else "",
                system_tokens=2_500 if task == "assistant" else 0,
                batch=task == "nightly",
            )
        )
    return found


def saved_share(found: Audit) -> float:
    return found.saved_nano / found.before_nano


def test_prompt_caching_batches_and_input_limits_take_35_percent_off_the_bill() -> None:
    found = audit(bill(), BOOK, Options(frozenset({"length", "batch", "prompt_caching"})))
    assert {each.kind for each in found.advice} == {"length", "batch", "prompt_caching"}
    assert 0.33 <= saved_share(found) <= 0.37, saved_share(found)
    assert sum(map(found.saved_by, ("length", "batch", "prompt_caching"))) == found.saved_nano
