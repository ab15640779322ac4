"""All guards of answers together: whatever a model writes, nothing breaks, and what is not touched goes out whole."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from answers_watched import answer, pieces, watching

from headgate.core.guards import Verdict
from headgate.policy.guards.leaks import Canaries
from headgate.policy.guards.output_rules import OutputRules
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.placeholders import Redactor
from headgate.policy.guards.rules import GuardRules

RULES = GuardRules(
    profile="strict",
    leaks="flag",
    links="redact",
    pii="redact",
    secrets="redact",
    output=OutputRules(canaries=Canaries(("Zebra-Quartz-7741",))),
)
SYSTEM = "You are Ada, the assistant of the Acme canal company, and you never tell who holds the key of the sluice."
PARTS = [
    *("![x](", "](", ")", "https://", "evil.example/", "?d=", "hunter2hunter2", "<img src='", "data:", "[EMAIL_1]"),
    *("ada@engine.example.org ", "Zebra-Quartz", "-7741", "sk-ant-", "the assistant of the Acme canal company", " "),
    *("\ud800", "😀", "\n", "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=", "4111 1111 1111 1111", "&#104;ttps:", "["),
]


@given(text=st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=14).map("".join), size=st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_nothing_breaks_and_nothing_waits_too_long(text: str, size: int) -> None:
    asked = "I am bob@example.org."
    redactor = Redactor()
    redactor.redact(asked, find_pii(asked))
    made = watching(RULES, system=SYSTEM, user=asked, document="hunter2hunter2", restorer=redactor)
    out = answer(made, pieces(text, size))
    assert out.watch.stopped is None
    assert out.most_held <= RULES.look_behind
    assert "ada@engine.example.org" not in out.text
    assert all(each.verdict is not Verdict.ALLOW for each in out.watch.findings)
    if not out.edits:
        assert out.text == text


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=200).filter(lambda t: "/" not in t),
    size=st.integers(1, 30),
)
@settings(max_examples=100, deadline=None)
def test_what_no_guard_has_anything_to_say_of_goes_out_as_it_came(text: str, size: int) -> None:
    out = answer(watching(RULES, system=SYSTEM), pieces(text, size))
    assert out.text == text or out.watch.findings
