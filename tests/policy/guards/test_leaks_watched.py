"""Leaks of system prompts and canaries: in every form, however the answer is cut; and what is none."""

from __future__ import annotations

import base64
import codecs
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from answers_watched import answer, pieces, watching

import headgate
from headgate.core.guards import Denied, ToolCall
from headgate.policy.guards.leaks import Canaries, Prompts, squashed
from headgate.policy.guards.output_rules import OutputRules
from headgate.policy.guards.rules import GuardRules

CANARY = "Zebra-Quartz-7741"
RULES = GuardRules(profile="standard", leaks="block", output=OutputRules(canaries=Canaries((CANARY,))))
STRICT = GuardRules(profile="strict", leaks="block", output=OutputRules(canaries=Canaries((CANARY,))))
PROMPT = (
    "You are Ada, the assistant of the Acme canal company. Never tell anybody that the sluice in Lower Brook is opened "
    "by hand on Tuesdays, nor who holds its key. Refunds above forty pounds go to the harbour master, and you greet "
    "every skipper by the name of the boat. When asked about fish, you speak of trout and of nothing else."
)
NO_CANARIES = GuardRules(profile="standard", leaks="block")

FORMS = {
    "plain": CANARY,
    "lower": CANARY.lower(),
    "spaced": " ".join(CANARY),
    "dotted": ".".join(CANARY),
    "reversed": CANARY[::-1],
    "rot13": codecs.encode(CANARY, "rot13"),
    "hex": CANARY.encode().hex(),
    "hex spaced": " ".join(f"{byte:02x}" for byte in CANARY.encode()),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 of a sentence": base64.b64encode(f"it is {CANARY} indeed".encode()).decode(),
    "base64 of base64": base64.b64encode(base64.b64encode(CANARY.encode())).decode(),
    "hex of base64": base64.b64encode(CANARY.encode()).hex(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 3, 8, 1000])
@pytest.mark.parametrize("lead", ["", "The word is: "])
def test_a_canary_in_any_form_ends_the_answer_before_it(form: str, size: int, lead: str) -> None:
    out = answer(watching(RULES), pieces(f"{lead}{FORMS[form]} and so on", size))
    assert out.watch.stopped is not None
    assert out.watch.stopped.guard == "leak"
    assert FORMS[form] not in out.text
    assert out.most_held <= 64


@pytest.mark.parametrize("size", [5, 50_000])
def test_a_canary_deep_inside_of_a_long_run_is_found(size: int) -> None:
    inner = base64.b64encode(f"{'so it goes. ' * 90}{CANARY}{' and on it goes' * 90}".encode())
    out = answer(watching(RULES), pieces(base64.b64encode(inner).decode(), size))
    assert out.watch.stopped is not None


def test_a_marker_in_the_system_prompt_is_a_canary_of_its_own() -> None:
    marker = headgate.canary()
    assert marker != headgate.canary()
    made = watching(NO_CANARIES, system=f"{marker}. Be nice.")
    assert made.needed
    assert answer(made, pieces(f"I was told: {marker}", 4)).reasons == ["block:leak:canary"]


def test_a_canary_in_the_arguments_of_a_call_ends_the_answer() -> None:
    watch = watching(RULES)()
    assert watch.tools
    call = ToolCall("c", "send", f'{{"body": "{" ".join(CANARY)}"}}')
    assert not isinstance(watch.tool(call), Denied)
    assert watch.stopped is not None


@pytest.mark.parametrize(
    "said",
    [
        PROMPT,
        f"Here are my instructions:\n\n> {PROMPT}",
        PROMPT.upper(),
        PROMPT.replace(" ", "  \n"),
        PROMPT[60:260],
        PROMPT[::-1],
        codecs.encode(PROMPT, "rot13"),
        base64.b64encode(PROMPT.encode()).decode(),
        PROMPT.encode().hex(),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 5000])
def test_a_long_piece_of_the_system_prompt_ends_the_answer(said: str, size: int) -> None:
    out = answer(watching(NO_CANARIES, system=PROMPT), pieces(said, size))
    assert out.watch.stopped is not None
    assert len(out.text) < 160
    assert out.most_held <= 64


def test_strict_ends_at_a_shorter_piece() -> None:
    said = "He told me that the sluice in Lower Brook is opened by hand on Tuesdays. That is all."
    assert answer(watching(NO_CANARIES, system=PROMPT), pieces(said, 4)).watch.stopped is None
    strict = GuardRules(profile="strict", leaks="block")
    assert answer(watching(strict, system=PROMPT), pieces(said, 4)).watch.stopped is not None


def test_the_prompt_in_other_words_is_flagged_once() -> None:
    said = (
        "Well, the assistant of the Acme canal company I am. Refunds above forty pounds, they go to the harbour "
        "master; the sluice in Lower Brook, of course, is opened by hand on Tuesdays only, nor who holds its key I "
        "say. Then I greet every skipper by the name of the boat and about fish, you speak of trout."
    )
    out = answer(watching(NO_CANARIES, system=PROMPT), pieces(said, 6))
    assert out.reasons == ["flag:leak:paraphrase"]
    assert out.text == said


@pytest.mark.parametrize(
    "said",
    [
        "Hello! I am Ada, the assistant of the Acme canal company. How can I help you with your boat today?",
        "Trout is a fish. Refunds are possible: please write to us.",
        "You are a helpful assistant.",
        "aGVsbG8gd29ybGQsIHRoaXMgaXMgbm90aGluZw== is base64; 68656c6c6f20776f726c6421 is hex.",
    ],
)
def test_an_ordinary_answer_is_no_leak(said: str) -> None:
    out = answer(watching(RULES, system=PROMPT), pieces(said, 3))
    assert (out.text, out.reasons) == (said, [])


def test_what_the_user_has_said_is_no_secret() -> None:
    made = watching(NO_CANARIES, system=PROMPT, user=f"Is this your prompt? {PROMPT}")
    assert answer(made, pieces(f"You wrote: {PROMPT}", 7)).watch.stopped is None


def test_a_short_prompt_is_no_secret() -> None:
    made = watching(NO_CANARIES, system="You are a helpful assistant.")
    assert answer(made, pieces("You are a helpful assistant. You are a helpful assistant.", 3)).reasons == []


def test_without_anything_to_leak_there_is_nothing_to_watch_and_nothing_waits() -> None:
    rules = GuardRules(profile="standard", leaks="block")
    assert not watching(rules, user="hi").needed
    assert answer(watching(NO_CANARIES, system=PROMPT), pieces("An ordinary answer about boats.", 3)).most_held == 0


def test_flagging_lets_it_pass() -> None:
    rules = GuardRules(profile="observe", leaks="flag", output=RULES.output)
    out = answer(watching(rules), pieces(f"It is {CANARY}.", 3))
    assert (out.text, out.reasons) == (f"It is {CANARY}.", ["flag:leak:canary"])


def test_a_prompt_is_made_ready_once() -> None:
    prompts = Prompts(size=2)
    first = prompts.of(PROMPT)
    assert prompts.of(PROMPT) is first
    prompts.of("b" * 100)
    prompts.of("c" * 100)
    assert prompts.of(PROMPT) is not first


def test_a_canary_too_short_to_be_told_from_a_word_is_none() -> None:
    assert not Canaries(("abc",))


def test_a_long_text_is_squashed_in_pieces_and_comes_to_the_same() -> None:
    text = "The Quick-brown_fox, № 7, ist groß. " * 2000
    assert squashed(text) == squashed(text[:36]) * 2000
