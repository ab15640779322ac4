"""Lines of batch files and of their results: nothing that comes in from outside ends the reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire import DIALECTS
from headgate.wire.batch_lines import Broken, Line, dialect_of, errored, not_run, read_line, read_result, succeeded

CLAUDE = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
GPT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def line_of(dialect: str, **changed: Any) -> bytes:
    if dialect == "anthropic":
        told: dict[str, Any] = {"custom_id": "one", "params": CLAUDE}
    else:
        told = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": GPT}
    return json.dumps({**told, **changed}).encode()


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_request_of_either_vendor_is_read_with_its_facts(dialect: str) -> None:
    line = read_line(3, line_of(dialect), DIALECTS[dialect])
    assert isinstance(line, Line)
    model = (CLAUDE if dialect == "anthropic" else GPT)["model"]
    assert (line.number, line.custom_id, line.facts.model) == (3, "one", model)
    assert dialect_of(line_of(dialect)) == dialect


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@settings(max_examples=40, deadline=None)
@given(raw=st.binary(max_size=80) | JSON.map(lambda told: json.dumps(told).encode()))
def test_whatever_a_line_holds_it_is_a_request_or_says_why_it_is_none(dialect: str, raw: bytes) -> None:
    line = read_line(1, raw, DIALECTS[dialect])
    assert isinstance(line, Line) or line.reason
    assert dialect_of(raw) in ("", "anthropic", "openai")


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@settings(max_examples=40, deadline=None)
@given(name=st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()), change=JSON)
def test_whatever_stands_in_a_requests_place_is_never_an_exception(dialect: str, name: str, change: Any) -> None:
    key = "params" if dialect == "anthropic" else "body"
    line = read_line(1, line_of(dialect, custom_id=name, **{key: change}), DIALECTS[dialect])
    assert isinstance(line, Broken)
    assert line.custom_id == name


@settings(max_examples=40, deadline=None)
@given(JSON.filter(lambda told: not isinstance(told, str) or not told))
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    line = read_line(1, line_of("anthropic", custom_id=name), DIALECTS["anthropic"])
    assert isinstance(line, Broken)
    assert "custom_id" in line.reason


def test_equal_requests_have_one_digest_whatever_the_order_of_their_keys() -> None:
    turned = dict(reversed(CLAUDE.items()))
    first = read_line(1, line_of("anthropic"), DIALECTS["anthropic"])
    second = read_line(2, line_of("anthropic", custom_id="two", params=turned), DIALECTS["anthropic"])
    other = read_line(3, line_of("anthropic", params={**CLAUDE, "max_tokens": 6}), DIALECTS["anthropic"])
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert isinstance(other, Line)
    assert first.digest == second.digest != other.digest


def test_a_model_in_place_of_the_lines_own_is_in_the_body_that_is_sent() -> None:
    line = read_line(1, line_of("anthropic"), DIALECTS["anthropic"], model="claude-sonnet-5")
    assert isinstance(line, Line)
    assert json.loads(line.body)["model"] == line.facts.model == "claude-sonnet-5"


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@settings(max_examples=40, deadline=None)
@given(name=st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), said=st.text(max_size=40))
def test_results_that_are_written_are_read_again(dialect: str, name: str, said: str) -> None:
    body = json.dumps({"said": said}).encode()
    good = read_result(dialect, succeeded(dialect, name, 200, body, "req_1"))
    bad = read_result(dialect, errored(dialect, name, 400, body, "req_2"))
    gone = read_result(dialect, not_run(dialect, name, "expired", "too late"))
    assert good is not None
    assert bad is not None
    assert gone is not None
    assert (good.custom_id, good.kind, json.loads(good.body)) == (name, "succeeded", {"said": said})
    assert (bad.custom_id, bad.kind, json.loads(bad.body)) == (name, "errored", {"said": said})
    assert (gone.custom_id, gone.kind) == (name, "expired")


def test_a_result_is_one_line_even_where_its_body_is_not() -> None:
    assert b"\n" not in succeeded("openai", "one", 200, b'{\n"a": 1\r\n}', "req")
    assert b"\n" not in errored("anthropic", "one", 502, b"<html>\n</html>", "req")
