"""Texts of any body: what they decode to, and that splicing them back changes nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.policy.guards.provenance import delimiters, mark
from headgate.wire.anthropic import ANTHROPIC
from headgate.wire.located import byte_places, locate
from headgate.wire.openai import OPENAI
from headgate.wire.segments import segments
from headgate.wire.splicing import splice

BY = delimiters(b"k" * 32, "s-1")
ENDPOINTS = ["messages", "chat", "responses", "embeddings", "moderations", "count_tokens", "other"]
KEYS = ["role", "type", "content", "text", "source", "data", "input", "tools", "description", "output", "title", "x"]
WORDS = ["user", "system", "tool", "assistant", "text", "document", "tool_result", "thinking", "image", "function_call"]

texts = st.text(max_size=12) | st.sampled_from(WORDS)
marked = st.tuples(texts, texts, texts).map(lambda t: f"{t[0]}{mark(t[1], 'web', 'datamark', BY)}{t[2]}")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts | marked,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | texts, below, max_size=5),
    max_leaves=20,
)
messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(WORDS), "content": values}) | values, max_size=4)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(1), "messages": messages, "input": values},
    optional={"system": values, "tools": values, "instructions": values, "prompt": values},
)
layouts = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])
dialects = st.sampled_from([ANTHROPIC, OPENAI])


def encoded(body: Any, layout: dict[str, Any]) -> bytes:
    return json.dumps(body, **layout).encode("utf-8", "replace")


@settings(max_examples=150, deadline=None)
@given(bodies, layouts, dialects, st.sampled_from(ENDPOINTS))
def test_every_text_is_what_its_bytes_decode_to_and_splicing_it_back_changes_no_value(
    body: dict[str, Any], layout: dict[str, Any], dialect: Any, endpoint: str
) -> None:
    raw = encoded(body, layout)
    found = segments(dialect.name, endpoint, raw)
    at = 0
    for each in found:
        start, end = each.span
        assert at <= start < end
        at = end
        literal = raw[start:end] if raw[start:end][:1] == b'"' else b'"%b"' % raw[start:end]
        assert json.loads(literal) == each.text
    again = splice(raw, [(*each.span, each.text) for each in found])
    assert json.loads(again) == json.loads(raw)


@settings(max_examples=100, deadline=None)
@given(bodies, texts)
def test_a_splice_changes_the_texts_that_it_is_told_to_and_no_other(body: dict[str, Any], new: str) -> None:
    raw = encoded(body, {})
    found = segments("openai", "chat", raw)
    if not found or not new:
        return
    chosen = found[len(found) // 2]
    after = segments("openai", "chat", splice(raw, [(*chosen.span, new)]))
    if all(each.marks is None for each in found):
        assert [each.text for each in after] == [new if each is chosen else each.text for each in found]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud8aé1 tru', max_size=60).map(str.encode), dialects)
def test_no_bytes_raise_anything_but_what_reading_the_request_has_raised(noise: bytes, dialect: Any) -> None:
    for raw in (noise, b'{"model":"m","max_tokens":1,"messages":[%b]}' % noise, b'{"model":"m","input":%b}' % noise):
        for endpoint in ENDPOINTS:
            try:
                dialect.read_request(endpoint, raw)
            except BadRequest:
                segments(dialect.name, endpoint, raw)
            else:
                for each in segments(dialect.name, endpoint, raw):
                    assert each.start < each.end


@settings(max_examples=150, deadline=None)
@given(values, layouts)
def test_places_are_those_of_the_same_structure(value: Any, layout: dict[str, Any]) -> None:
    raw = encoded([value], layout)

    def same(node: Any, decoded: Any) -> None:
        if isinstance(decoded, str):
            assert json.loads(raw[node[0] : node[1]]) == decoded
        elif isinstance(decoded, dict):
            assert [name for name, _ in node] == list(decoded)
            for (_, below), other in zip(node, decoded.values(), strict=True):
                same(below, other)
        elif isinstance(decoded, list):
            for below, other in zip(node, decoded, strict=True):
                same(below, other)
        else:
            assert node is None

    same(locate(raw), json.loads(raw))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20), st.booleans(), st.data())
def test_a_character_is_where_its_bytes_are(text: str, ascii_only: bool, data: st.DataObject) -> None:
    raw = json.dumps(text, ensure_ascii=ascii_only).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2)))
    start, end = byte_places(raw, 0, len(raw), cuts)
    assert json.loads(b'"%b"' % raw[start:end]) == text[cuts[0] : cuts[1]]
