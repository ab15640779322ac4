"""The simulator's parts alone: tokens, answers, schema instances, caches, the plugin's weight."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headgate.testing.simulator.answers import answer, dice
from headgate.testing.simulator.asked import Asked, Tool
from headgate.testing.simulator.models import MODELS
from headgate.testing.simulator.openai_requests import read as read_openai
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.promptcache import PromptBlock, PromptCache
from headgate.testing.simulator.schema import instance
from headgate.testing.simulator.tokens import count, pieces, weight


@given(st.text())
def test_pieces_join_to_the_text_and_weigh_its_count(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert sum(weight(piece) for piece in pieces(text)) == count(text)


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_never_has_more_tokens_than_bytes(text: str) -> None:
    assert count(text) <= len(text.encode())


@given(
    cap=st.integers(0, 200),
    text=st.sampled_from(["", "hello", "tokens: 120", "say: ein schöner Tag 🌊 war das", "use the tool", "a_tool"]),
    thinking=st.sampled_from([0, 1024]),
    shown=st.booleans(),
    stops=st.sampled_from([(), ("a",), ("water", "🌊")]),
    forced=st.sampled_from(["", "any", "none", "a_tool"]),
    kind=st.sampled_from(["", "object"]),
    model=st.sampled_from(["claude-opus-4-6", "gpt-6-luna"]),
    seed=st.integers(0, 1000),
)
def test_an_answer_never_exceeds_its_cap_and_its_tokens_are_those_of_its_parts(
    cap: int, text: str, thinking: int, shown: bool, stops: Any, forced: str, kind: str, model: str, seed: int
) -> None:
    tools = [Tool("a_tool", {"type": "object", "properties": {"x": {"type": "string"}}})]
    asked = Asked(
        MODELS[model],
        False,
        cap,
        Counts(),
        text=text,
        tools=tools if forced or text else (),
        must_call=forced,
        json=kind,
        stops=stops,
        thinking=thinking,
        thinking_shown=shown,
    )
    made = answer(asked, dice(seed, text.encode()), 40)
    assert made.tokens <= cap
    assert made.tokens == made.hidden + sum(count(b.text) + b.extra for b in made.blocks)
    for block in made.blocks:
        assert sum(tokens for _, tokens in block.batches(4)) == block.tokens
        assert "".join(part for part, _ in block.batches(4)) == block.text
    if made.stop == "cap" and made.blocks and made.blocks[-1].kind == "text" and not kind:
        assert made.tokens >= cap - 1  # one short where a two-token character did not fit


def _fits(schema: dict[str, Any], value: Any) -> bool:
    """A check of the few keywords used below, written apart from what it checks."""
    kind = schema.get("type")
    if "enum" in schema:
        return value in schema["enum"]
    if kind == "object":
        required = all(name in value for name in schema.get("required", ()))
        return required and all(_fits(s, value[n]) for n, s in schema["properties"].items() if n in value)
    if kind == "array":
        return len(value) >= schema.get("minItems", 0) and all(_fits(schema["items"], v) for v in value)
    if kind == "integer":
        return isinstance(value, int) and schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if kind == "string":
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    return isinstance(value, bool)


def _bounded(kind: str, least: str, most: str, low: int, more: int) -> dict[str, Any]:
    return {"type": kind, least: low, most: low + more}


_LOW, _MORE = st.integers(-99, 99), st.integers(0, 30)
_leaf = st.one_of(
    st.just({"type": "boolean"}),
    st.builds(_bounded, st.just("integer"), st.just("minimum"), st.just("maximum"), _LOW, _MORE),
    st.builds(_bounded, st.just("string"), st.just("minLength"), st.just("maxLength"), _MORE, _MORE),
    st.builds(lambda options: {"enum": options}, st.lists(st.integers(), min_size=1)),
)
_schemas = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)[:2]},
            st.dictionaries(st.sampled_from("abcd"), inner),
        ),
    ),
    max_leaves=8,
)


@given(_schemas)
def test_an_instance_satisfies_its_schema(schema: dict[str, Any]) -> None:
    assert _fits(schema, instance(schema))


def test_references_unions_and_nullables_are_followed() -> None:
    schema = {
        "$defs": {"Node": {"type": "object", "properties": {"v": {"type": "number"}}, "required": ["v"]}},
        "type": "object",
        "properties": {
            "node": {"$ref": "#/$defs/Node"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
            "both": {"allOf": [{"$ref": "#/$defs/Node"}]},
            "kind": {"const": "x"},
            "either": {"type": ["null", "boolean"]},
        },
        "required": ["node", "maybe", "both", "kind", "either"],
    }
    made = instance(schema)
    assert made == {"node": {"v": 1}, "maybe": "2026-11-20", "both": {"v": 1}, "kind": "x", "either": True}


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert json.dumps(instance({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}))


def test_parallel_cold_requests_all_pay_and_an_entry_expires() -> None:
    cache = PromptCache()
    blocks = [PromptBlock("rules", 600, "5m"), PromptBlock("question", 10)]
    first = cache.anthropic("k", blocks, 512, 0.0)
    second = cache.anthropic("k", blocks, 512, 0.0)
    assert (first.write, second.write) == (600, 600)
    first.commit(0.0)
    assert cache.anthropic("k", blocks, 512, 299.0).read == 600
    assert cache.anthropic("k", blocks, 512, 301.0).read == 0
    assert cache.anthropic("other", blocks, 512, 1.0).read == 0


def test_a_hit_refreshes_the_entry() -> None:
    cache = PromptCache()
    blocks = [PromptBlock("rules", 600, "5m")]
    cache.anthropic("k", blocks, 512, 0.0).commit(0.0)
    cache.anthropic("k", blocks, 512, 200.0).commit(200.0)
    assert cache.anthropic("k", blocks, 512, 400.0).read == 600


def test_a_breakpoint_looks_back_twenty_blocks_and_no_further() -> None:
    cache = PromptCache()
    start = [PromptBlock("rules", 600, "5m")]
    cache.anthropic("k", start, 512, 0.0).commit(0.0)
    unmarked = [PromptBlock("rules", 600)]
    near = unmarked + [PromptBlock(str(i), 1) for i in range(19)] + [PromptBlock("end", 1, "5m")]
    far = unmarked + [PromptBlock(str(i), 1) for i in range(20)] + [PromptBlock("end", 1, "5m")]
    assert cache.anthropic("k", near, 512, 1.0).read == 600
    assert cache.anthropic("k", far, 512, 1.0).read == 0


@given(st.text(min_size=0, max_size=3000), st.integers(1, 4))
def test_automatic_caching_never_counts_more_than_the_prompt(text: str, turns: int) -> None:
    cache = PromptCache()
    body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": text * 3}] * turns}
    for _ in range(2):
        asked = read_openai(body, scope="k", cache=cache, now=0.0)
        asked.commit_cache(0.0)
        counts = asked.counts
        assert min(counts.input, counts.cache_read, counts.cache_write) >= 0
        assert counts.prompt == 3 + turns * (3 + count(text * 3))


def test_the_pytest_plugin_loads_nothing_heavy() -> None:
    heavy = ("uvicorn", "yaml", "msgspec", "httptools", "asyncio", "anthropic", "openai", "headgate.testing.simulator")
    code = (
        f"import pytest, sys; before = set(sys.modules); import headgate.testing.plugin; "
        f"print([m for m in {heavy!r} if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_simulator_shares_nothing_with_the_ledgers_pricing() -> None:
    code = (
        "import sys, headgate.testing.server; "
        "print([m for m in sys.modules if m.startswith(('headgate.policy', 'headgate.wire', 'headgate.engine'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
