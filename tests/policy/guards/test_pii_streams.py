"""`find_pii` on any text, on growing text, on long and hostile text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.guards import Span
from headgate.policy.guards.pii import find_pii, tail_start
from headgate.policy.guards.spans_resolved import SEEN_BACK, resolved

PERSONAL = [
    "ada.lovelace@example.com",
    "+49 (0) 2409 666945",
    "(650) 555-0123",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "536-90-4399",
    "93.184.216.34",
    "2001:db8::9b7b:55",
    "600 South Rowan Ave",
    "12 rue de la Paix",
    "Hauptstraße 12",
    "390.533.447-05",
    "AB 12 34 56 C",
    "2 95 10 99 126 111 93",
]
ALPHABET = st.sampled_from(
    [
        *"09 41-./()+:@_#\n'\"=xX%[]{}",
        "a",
        "Z",
        "é",
        "٣",
        "1111",
        "4111",
        "DE89",
        "@a.b",
        "::",
        "born 1.1.1980",
        "é́",
        "😀",
    ]
)
ANY = st.text() | st.lists(ALPHABET, max_size=60).map("".join)


@settings(max_examples=300)
@given(ANY)
def test_any_text_gives_spans_within_it_in_order_and_without_overlaps(text: str) -> None:
    spans = find_pii(text)
    place = 0
    for span in spans:
        assert place <= span.start < span.end <= len(text)
        place = span.end
    assert len(text) - SEEN_BACK <= tail_start(text) <= len(text)
    assert tail_start(text) >= 0


@pytest.mark.parametrize("value", PERSONAL)
def test_wherever_a_stream_is_cut_in_a_span_the_span_is_held_back(value: str) -> None:
    for before in ("", "He wrote to ", "call me: ", "\n", "x=", "("):
        text = f"{before}{value} "
        (span,) = find_pii(text)
        for cut in range(span.start + 1, span.end):
            assert tail_start(text[:cut]) <= span.start, text[:cut]


@given(
    st.lists(
        st.sampled_from([*PERSONAL, "and", "the", "Then", "call me at", "12", "on", "born", "."]), max_size=12
    ).map(" ".join)
)
def test_no_span_of_64_characters_or_less_is_let_out_in_part(text: str) -> None:
    spans = find_pii(text)
    for cut in range(len(text)):
        held = tail_start(text[:cut])
        for span in spans:
            if span.start < cut < span.end and span.end - span.start <= SEEN_BACK:
                assert held <= span.start, (text[:cut], text[span.start : span.end])


def test_plain_words_are_not_held_back_once_they_have_ended() -> None:
    assert tail_start("A plain sentence. ") == len("A plain sentence. ")
    assert tail_start("A plain senten") == len("A plain ")
    assert tail_start("") == 0


def test_the_tail_is_never_further_back_than_64_characters() -> None:
    assert tail_start("7" * 1000) == 1000 - SEEN_BACK


HOSTILE = [
    "1" * 64, "1 ", "1-", "(1", "+1", "+1(", "1.", "a@", "@", "a.", "a@a.", "::", ":1", "1:", "A1 ", "12 A ",
    "Aa straße ", "Calle A ",
    "born 1.1.", "DE89 ", "0123 45", "00:11:", "1.1.1.1.", "12 rue de la ", "mac 00-", "4111 1111 ", "phone 12",
    "a(at)b.", "1'1\"", "\n1",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_in_proportion_to_its_length(piece: str) -> None:
    """Eight times the text may cost at most 24 times: quadratic would be 64. CPU time of this thread, best of three."""
    small, large = (_cost(piece * (size // len(piece))) for size in (4_000, 32_000))
    assert large <= 24 * max(small, 0.001)


def _cost(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        begun = time.thread_time()
        find_pii(text)
        tail_start(text)
        best = min(best, time.thread_time() - begun)
    return best


def test_spans_that_touch_stay_apart_and_spans_that_overlap_become_one() -> None:
    spans = [Span(4, 8, "b"), Span(0, 4, "b"), Span(6, 12, "a"), Span(20, 20, "a")]
    assert resolved(spans, "ab".index) == [Span(0, 4, "b"), Span(4, 12, "a")]
