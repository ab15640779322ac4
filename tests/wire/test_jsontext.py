"""Splices change one member of the top level and no other byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.wire import jsontext

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text(max_size=8)
KEYS = st.sampled_from(["model", "messages", "stream_options", "a", 'q"uote', "back\\slash", "é", "{", ""]) | st.text(
    max_size=4
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)
STYLES = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"indent": 3},
        {"ensure_ascii": False},
        {"separators": (" ,\t", "\n:\r\n ")},
    ]
)


@given(OBJECTS, STYLES, st.sampled_from(["model", "stream_options", "fresh"]), VALUES)
def test_a_splice_is_a_dict_update_and_leaves_every_other_byte(
    value: dict[str, Any], style: dict[str, Any], key: str, new: Any
) -> None:
    text = json.dumps(value, **style).encode()
    raw = json.dumps(new).encode()
    spliced = jsontext.set_members(text, {key: raw})
    assert json.loads(spliced) == {**value, key: new}
    at = spliced.find(raw) if key in value else None
    if key in value:
        span = dict(jsontext.members(text))[key]
        assert spliced == text[: span.start] + raw + text[span.end :]
    else:
        assert at is None
        assert spliced.endswith(text[text.index(b"{") + 1 :])


@given(OBJECTS, STYLES)
def test_members_are_what_the_standard_library_reads(value: dict[str, Any], style: dict[str, Any]) -> None:
    text = json.dumps(value, **style).encode()
    found = [(name, json.loads(text[span.start : span.end])) for name, span in jsontext.members(text)]
    assert found == list(value.items())


@given(st.lists(st.tuples(st.sampled_from("abc"), VALUES), max_size=6), STYLES)
def test_duplicate_keys_are_all_found_in_order(pairs: list[tuple[str, Any]], style: dict[str, Any]) -> None:
    text = b"{" + b",".join(json.dumps({k: v}, **style).encode().strip()[1:-1] for k, v in pairs) + b"}"
    found = [(name, json.loads(text[span.start : span.end])) for name, span in jsontext.members(text)]
    assert found == pairs


def test_several_members_are_replaced_and_inserted_at_once() -> None:
    text = b'{"b":[1,{"a":2}],"a":"old"}'
    assert jsontext.set_members(text, {"a": b'"new"', "c": b"0", "b": b"null"}) == b'{"c":0,"b":null,"a":"new"}'


@pytest.mark.parametrize("known", [(), ("model",)])
def test_only_the_top_level_key_is_replaced(known: tuple[str, ...]) -> None:
    text = b'{"messages":[{"model":"deep","content":"\\"model\\":\\"text\\""}],"model" : "old","x":{"model":1}}'
    expected = text.replace(b'"model" : "old"', b'"model" : "new"')
    assert jsontext.set_members(text, {"model": b'"new"'}, known=known) == expected


@pytest.mark.parametrize("known", [(), ("model",)])
def test_a_key_written_with_escapes_is_the_same_key(known: tuple[str, ...]) -> None:
    text = b'{"x":{"model":"deep"},"mod\\u0065l":"old"}'
    assert jsontext.set_members(text, {"model": b'"new"'}, known=known) == b'{"x":{"model":"deep"},"mod\\u0065l":"new"}'


@pytest.mark.parametrize(
    "text", [b'{"model":"a","model":"b"}', b'{"model":"a","mod\\u0065l":"b"}', b'{"model":1,"model":1}']
)
def test_a_key_that_is_there_twice_is_not_replaced(text: bytes) -> None:
    with pytest.raises(BadRequest, match="`model` more than once"):
        jsontext.set_members(text, {"model": b'"c"'}, known=("model",))


def test_other_duplicates_stay_as_they_are() -> None:
    text = b'{"a":[1],"model":"m","a":{"b":"]"}}'
    assert jsontext.set_members(text, {"model": b'"n"', "z": b"1"}) == b'{"z":1,"a":[1],"model":"n","a":{"b":"]"}}'


@pytest.mark.parametrize("text", [b"", b"[]", b'"model"', b'{"a":1', b"nonsense", b"{" * 100_000])
def test_what_is_no_object_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(BadRequest, match="not a JSON object"):
        jsontext.set_members(text, {"model": b'"m"'})


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(OBJECTS, st.integers(2, 6))
def test_depth_is_measured_exactly(value: dict[str, Any], limit: int) -> None:
    value = {"messages": [value, "[[[[{{{{", "]]]]"], "tools": [], **value}
    text = json.dumps(value).encode()
    arrays = [
        msgspec.json.decode(json.dumps(value[k]).encode(), type=list[msgspec.Raw])
        for k in ("messages", "tools")
        if isinstance(value[k], list)
    ]
    assert jsontext.too_deep(text, (), limit) == (depth(value) > limit)
    assert jsontext.too_deep(text, arrays, limit) == (depth(value) > limit)


def test_many_brackets_are_not_deep() -> None:
    text = json.dumps({"a": [{"b": []} for _ in range(1000)], "c": "[" * 1000}).encode()
    assert not jsontext.too_deep(text)
