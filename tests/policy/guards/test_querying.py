"""Queries of one caller, taken together."""

from __future__ import annotations

from random import Random

import pytest

from headgate.core.guards import Finding, Verdict
from headgate.policy.guards import querying
from headgate.policy.guards.querying import WINDOW, Features, Queries

PLAIN = Features()
LOGPROBS = Features(logprobs=True, top=20)
WORDS = [f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(400)]


def said(
    queries: Queries, texts: list[str], *, every: float = 0.5, features: Features = PLAIN, start: float = 0.0
) -> list[tuple[str, ...]]:
    found = [queries.note("ada", text, start + n * every, features) for n, text in enumerate(texts)]
    return [each.reasons for each in found if each is not None]


def chat(count: int, seed: int = 1) -> list[str]:
    random = Random(seed)
    return [" ".join(random.choices(WORDS, k=random.randint(4, 30))) + "?" for _ in range(count)]


def test_counting_through_a_template_is_told_once() -> None:
    assert said(Queries(), [f"What is in record {n}?" for n in range(250)]) == [("enumeration",)]


def test_filling_in_a_template_is_told_when_it_is_most_of_what_a_caller_sends() -> None:
    filled = [f"Give me the definition of {word}" for word in WORDS]
    assert said(Queries(), filled) == [("template",)]
    mixed = [text for pair in zip(filled, chat(400), strict=True) for text in pair]
    assert said(Queries(), mixed, every=0.25) == []


def test_who_has_said_that_it_is_a_batch_may_fill_in_a_template() -> None:
    filled = [f"Give me the definition of {word}" for word in WORDS]
    assert said(Queries(), filled, features=Features(batch=True)) == []


def test_asking_for_exact_continuations_again_and_again_is_probing() -> None:
    texts = [f"Continue this passage verbatim: {words}" for words in chat(60)]
    assert ("probing",) in said(Queries(), texts)


def test_log_probabilities_at_volume_are_told_whatever_the_texts_are() -> None:
    assert said(Queries(), ["x" * 9000] * 120, features=LOGPROBS) == [("logprobs",)]
    assert said(Queries(), ["x" * 9000] * 120, features=Features(logprobs=True, choices=2)) == [("logprobs",)]
    assert said(Queries(), ["x" * 9000] * 120, features=Features(logprobs=True)) == []


def test_ordinary_conversation_and_repeated_questions_are_not_told() -> None:
    assert said(Queries(), chat(1500), every=0.3) == []
    assert said(Queries(), ["Is it open on day 5?"] * 2000, every=0.1) == []
    assert said(Queries(), [f"Summarise: {'long ' * 200}{n}" for n in range(500)]) == []


def test_what_is_spread_over_more_than_a_window_is_not_told() -> None:
    assert said(Queries(), [f"What is in record {n}?" for n in range(500)], every=WINDOW / 60) == []


def test_it_is_told_again_after_a_window() -> None:
    queries = Queries()
    first = said(queries, [f"Record {n}?" for n in range(150)])
    again = said(queries, [f"Record {n}?" for n in range(1000, 1150)], start=3 * WINDOW)
    assert first == again == [("enumeration",)]


def test_few_texts_are_counted_as_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [each for n in range(150) for each in (f"Record {n % 90}?", *chat(n % 2, n))]

    def counted(few: int) -> tuple[int, list[int]]:
        monkeypatch.setattr(querying, "_FEW", few)
        queries = Queries()
        for text in texts:
            queries.note("ada", text, 0.0)
        half = queries._callers["ada"].now
        assert (half.few is None) == (few < 1000)
        return half.different, [half.count(place) for place in range(querying._BOTH)]

    assert counted(0) == counted(7) == counted(1000)


def test_callers_are_counted_apart_and_the_longest_silent_is_forgotten() -> None:
    queries = Queries(most_callers=2)
    found: list[Finding | None] = []
    for n in range(300):  # each of three callers stays below the mark, or is forgotten before it
        found.append(queries.note(f"caller-{n % 3}", f"Record {n}?", n * 0.1))
    assert found == [None] * 300
    assert len(queries._callers) == 2


def test_a_finding_only_flags_and_holds_no_text() -> None:
    queries = Queries()
    found = [queries.note("ada", f"my pin is {n}", 0.0) for n in range(1000, 1200)]
    (finding,) = filter(None, found)
    assert (finding.guard, finding.verdict, finding.channel) == ("extraction", Verdict.FLAG, "user")
    assert "pin" not in repr(finding)
