"""Redaction with placeholders that are put back, whole and in streams; and scrubbing for good."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.guards import Span
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.placeholders import LONGEST, Redactor, scrub

PIECES = st.sampled_from(
    [
        "[",
        "]",
        "[EMAIL_1]",
        "[email 1]",
        "[EMAIL\\_2]",
        "[TEXT_1]",
        "[VALUE_1]",
        "[ CARD_1 ]",
        "[EMAIL_",
        "1]",
        "a",
        " ",
        "[[",
        "ada@example.com",
        "é",
    ]
)
TEXTS = st.text(max_size=40) | st.lists(PIECES, max_size=20).map("".join)


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(TEXTS)
    ends = st.integers(0, len(text))
    pairs = draw(
        st.lists(st.tuples(ends, ends, st.sampled_from(["email", "card", "uk_nino", "text", "1x"])), max_size=4)
    )
    return text, [Span(min(a, b), max(a, b), kind) for a, b, kind in pairs]


def streamed(redactor: Redactor, text: str, cuts: list[int]) -> str:
    restorer = redactor.restorer()
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    out = [restorer.feed(text[one:two]) for one, two in itertools.pairwise(places)]
    return "".join([*out, restorer.end()])


@given(st.lists(texts_with_spans(), min_size=1, max_size=4), st.lists(st.integers(0, 1000)), st.booleans())
def test_redacted_and_put_back_every_text_is_as_it_was_however_the_stream_is_cut(
    given_texts: list[tuple[str, list[Span]]], cuts: list[int], known: bool
) -> None:
    redactor = Redactor([text for text, _ in given_texts] if known else [])
    redacted = [redactor.redact(text, spans) for text, spans in given_texts]
    for (text, _), hidden in zip(given_texts, redacted, strict=True):
        assert redactor.restore(hidden) == text
        assert streamed(redactor, hidden, cuts) == text


@given(TEXTS, st.lists(st.integers(0, 1000)))
def test_a_stream_gives_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    redactor = Redactor()
    redactor.redact("ada@example.com 4111", [Span(0, 15, "email"), Span(16, 20, "card")])
    assert streamed(redactor, text, cuts) == redactor.restore(text)


def test_a_value_has_one_placeholder_and_another_value_another() -> None:
    text = "ada@example.com, bob@example.com, ada@example.com"
    assert Redactor().redact(text, find_pii(text)) == "[EMAIL_1], [EMAIL_2], [EMAIL_1]"


def test_a_placeholder_that_the_caller_wrote_is_not_given() -> None:
    redactor = Redactor(["what does [email 1] mean?"])
    hidden = redactor.redact("ada@example.com", [Span(0, 15, "email")])
    assert hidden == "[EMAIL_2]"
    assert redactor.restore("[email 1] and [EMAIL_2]") == "[email 1] and ada@example.com"


def test_a_placeholder_that_the_caller_writes_later_comes_back_as_written() -> None:
    redactor = Redactor()
    redactor.redact("ada@example.com", [Span(0, 15, "email")])
    hidden = redactor.redact("is [EMAIL_1] an address?", [])
    assert hidden == "is [TEXT_1] an address?"
    assert redactor.restore(hidden) == "is [EMAIL_1] an address?"


def test_what_models_make_of_a_placeholder_is_understood_and_what_was_never_given_stays() -> None:
    redactor = Redactor()
    redactor.redact("x", [Span(0, 1, "uk_nino")])
    drifted = "[UK_NINO_1] [uk_nino_1] [UK NINO 1] [UK\\_NINO\\_1] [ Uk-Nino-1 ]"
    assert redactor.restore(drifted) == "x x x x x"
    for other in ("[UK_NINO_2]", "[UK_NINO]", "UK_NINO_1", "(UK_NINO_1)", "[UK_NINO_1", "[NINO_1]", "[UK_NINO_01]"):
        assert redactor.restore(other) == other


def test_a_restorer_holds_back_only_what_could_become_a_placeholder() -> None:
    redactor = Redactor()
    redactor.redact("x", [Span(0, 1, "email")])
    restorer = redactor.restorer()
    assert restorer.feed("see [1] and [") == "see [1] and "
    assert restorer.feed("EMA") == ""
    assert restorer.feed("IL_1") == ""
    assert restorer.feed("] [no, not this") == "x [no, not this"
    assert restorer.feed("[Read the") == "[Read the"
    assert restorer.feed("[" + "A" * LONGEST) == "[" + "A" * LONGEST
    assert restorer.end() == ""


def test_inside_json_a_value_is_escaped() -> None:
    redactor = Redactor()
    value = 'a "quoted"\nline'
    hidden = json.dumps({"to": redactor.redact(value, [Span(0, len(value), "password")])})
    assert json.loads(redactor.restore(hidden, in_json=True)) == {"to": value}


def test_a_redactor_does_not_print_its_values() -> None:
    redactor = Redactor()
    redactor.redact("ada@example.com", [Span(0, 15, "email")])
    assert "ada" not in repr(redactor)
    assert redactor
    assert not Redactor()


def test_scrubbed_text_tells_what_was_there_and_not_what_it_was() -> None:
    key = "sk-" + "ant-api03-" + "fA9kQ2" + "xW7_vLr3-TbY8mZc1Hd"
    text = f"ada@example.com pays with 4111 1111 1111 1111, key {key}, postgres://app:s3cr3tpw@db.example.com/x"
    assert (
        scrub(text) == "[email] pays with [card], key [anthropic_key], postgres://app:[url_password]@db.example.com/x"
    )


@given(st.text())
def test_scrubbing_leaves_text_without_anything_personal_as_it_is(text: str) -> None:
    if not find_pii(text) and "=" not in text and ":" not in text:
        assert scrub(text) == text


@given(st.text(alphabet="[] EMAILemail_-\\0123", max_size=60), st.lists(st.integers(0, 1000)))
def test_a_stream_full_of_almost_placeholders_gives_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    redactor = Redactor()
    for n in range(12):
        redactor.redact(str(n), [Span(0, len(str(n)), "email")])
    assert streamed(redactor, text, cuts) == redactor.restore(text)
    written = text.replace("[", "[EMAIL_1").replace("0", "[ email-12 ")
    assert streamed(redactor, written, cuts) == redactor.restore(written)
