"""Requests between the dialects: caps, effort, JSON output, users, and what is refused, dropped and reported."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.errors import BadRequest, ConfigError
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.translate import FEATURES, NOT_TRANSLATABLE, LossPolicy, Translated, translate_request

GPT, CLAUDE = "gpt-4o", "claude-haiku-4-5"
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
A_TOOL = {"name": "look", "description": "Looks.", "input_schema": SCHEMA}
O_TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
DROP = LossPolicy("drop")
Pair = tuple[dict[str, Any], tuple[str, ...]]


def read(translated: Translated) -> Pair:
    return json.loads(translated.body), translated.report


def to_openai(*, model: str = GPT, policy: LossPolicy = DROP, newest: bool = True, **fields: Any) -> Pair:
    body = {"model": "claude-opus-5", "max_tokens": 300, "messages": [USER], **fields}
    told = translate_request(
        "anthropic", "openai", json.dumps(body).encode(), model=model, policy=policy, newest=newest
    )
    OPENAI.read_request("chat", told.body)
    return read(told)


def to_anthropic(*, model: str = CLAUDE, policy: LossPolicy = DROP, default: int | None = 1000, **fields: Any) -> Pair:
    body = {"model": "gpt-4o", "messages": [USER], **fields}
    told = translate_request(
        "openai",
        "anthropic",
        json.dumps(body).encode(),
        model=model,
        max_output_tokens_default=default,
        policy=policy,
    )
    ANTHROPIC.read_request("messages", told.body)
    return read(told)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


# Output cap, stops, sampling


def test_the_cap_is_filled_in_lowered_and_named_as_the_provider_knows_it() -> None:
    assert to_anthropic(max_completion_tokens=7, max_tokens=9)[0]["max_tokens"] == 7
    assert to_anthropic(max_tokens=9)[0]["max_tokens"] == 9
    with pytest.raises(BadRequest, match="output cap"):
        to_anthropic(default=None)
    body = json.dumps({"model": "gpt-5", "messages": [USER], "max_completion_tokens": 100_000}).encode()
    told = translate_request("openai", "anthropic", body, model=CLAUDE, max_output_tokens_limit=64_000)
    assert (json.loads(told.body)["max_tokens"], told.report) == (64_000, ("max_tokens",))
    assert to_openai(newest=False)[0]["max_tokens"] == 300
    with pytest.raises(BadRequest, match="prompt cache"):
        to_openai(max_tokens=0)


def test_stop_sequences_go_both_ways_as_far_as_each_takes_them() -> None:
    assert to_openai(stop_sequences=["a", "b"])[0]["stop"] == ["a", "b"]
    assert to_anthropic(stop="a")[0]["stop_sequences"] == ["a"]
    body, report = to_openai(stop_sequences=list("abcde"))
    assert (body["stop"], report) == (list("abcd"), ("stop",))
    body, report = to_openai(model="o3", stop_sequences=["a"])
    assert ("stop" in body, report) == (False, ("stop",))
    body, report = to_anthropic(stop=["\n", "b"])
    assert (body["stop_sequences"], report) == (["b"], ("stop",))


def test_sampling_is_dropped_and_reported_but_for_values_that_say_nothing() -> None:
    neutral = {"temperature": 1, "top_p": 1.0, "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False}
    assert to_anthropic(**neutral)[1] == ()
    told = {"temperature": 0, "top_p": 0.5, "seed": 3, "logit_bias": {"5": 1}, "presence_penalty": 1}
    body, report = to_anthropic(**told, frequency_penalty=0.5)
    assert set(report) == {*told, "frequency_penalty"}
    assert set(body) == {"model", "max_tokens", "messages"}


def test_sampling_goes_to_openais_models_that_take_it() -> None:
    body, report = to_openai(temperature=0.2, top_p=0.9, top_k=5)
    assert (body["temperature"], body["top_p"], report) == (0.2, 0.9, ("top_k",))
    body, report = to_openai(model="gpt-5", temperature=0.2, top_p=1)
    assert ("temperature" in body, report) == (False, ("temperature",))


# Reasoning


@pytest.mark.parametrize(
    ("model", "effort", "told", "report"),
    [
        ("claude-opus-5", "high", {"output_config": {"effort": "high"}}, ()),
        ("claude-opus-5", "minimal", {"output_config": {"effort": "low"}}, ()),
        ("claude-opus-4-6", "xhigh", {"output_config": {"effort": "high"}}, ("effort",)),
        ("claude-haiku-4-5", "high", {}, ("effort",)),
        ("claude-opus-5", "none", {"thinking": {"type": "disabled"}}, ()),
        ("claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}, ("effort",)),
        ("claude-opus-5-5", "none", {"output_config": {"effort": "low"}}, ("effort",)),
        ("some-other-model", "high", {}, ("effort",)),
    ],
)
def test_effort_becomes_what_the_claude_model_takes(model: str, effort: str, told: Any, report: Any) -> None:
    body, said = to_anthropic(model=model, reasoning_effort=effort)
    assert {k: v for k, v in body.items() if k in ("output_config", "thinking")} == told
    assert said == report


@pytest.mark.parametrize(
    ("model", "fields", "told", "report"),
    [
        ("gpt-6-luna", {"output_config": {"effort": "max"}}, "max", ()),
        ("gpt-5.5", {"output_config": {"effort": "max"}}, "xhigh", ("effort",)),
        ("gpt-5", {"output_config": {"effort": "xhigh"}}, "high", ("effort",)),
        ("gpt-4o", {"output_config": {"effort": "high"}}, None, ("effort",)),
        ("gpt-5.1", {"thinking": {"type": "disabled"}}, "none", ()),
        ("gpt-5", {"thinking": {"type": "disabled"}}, "minimal", ("effort",)),
        ("gpt-4o", {"thinking": {"type": "disabled"}}, None, ()),
        ("gpt-5", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None, ("thinking",)),
        ("gpt-5.4", {"output_config": {"effort": "high"}, "tools": [A_TOOL]}, None, ("effort",)),
        ("gpt-6-luna", {"output_config": {"effort": "high"}, "tools": [A_TOOL]}, "none", ("effort",)),
        ("gpt-6-luna", {"tools": [A_TOOL]}, "none", ()),
        ("gpt-5", {"output_config": {"effort": "high"}, "tools": [A_TOOL]}, "high", ()),
    ],
)
def test_effort_becomes_what_the_gpt_model_takes(model: str, fields: Any, told: str | None, report: Any) -> None:
    body, said = to_openai(model=model, **fields)
    assert (body.get("reasoning_effort"), said) == (told, report)


def test_thinking_blocks_are_dropped_on_any_hop_and_reported() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    sealed = {"type": "redacted_thinking", "data": "x"}
    turns = [USER, {"role": "assistant", "content": [thought, text("a")]}, USER]
    turns += [{"role": "assistant", "content": [sealed]}, USER]
    body, report = to_openai(messages=turns)
    assert ([m["content"] for m in body["messages"]], report) == (["hi", "a", "hi", "hi"], ("thinking",))
    shown = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    assert to_anthropic(messages=[USER, shown, USER])[1] == ("thinking",)
    body = json.dumps({"model": "claude-opus-5", "max_tokens": 5, "messages": turns, "new": 1}).encode()
    told = translate_request("anthropic", "anthropic", body, model="claude-sonnet-5")
    assert read(told) == (
        {
            "model": "claude-sonnet-5",
            "max_tokens": 5,
            "messages": [USER, {"role": "assistant", "content": [text("a")]}, USER, USER],
            "new": 1,
        },
        ("thinking",),
    )


def test_a_hop_between_openais_models_changes_the_model_only() -> None:
    body = {"model": "a", "messages": [USER], "seed": 1}
    told = translate_request("openai", "openai", json.dumps(body).encode(), model="b")
    assert read(told) == ({**body, "model": "b"}, ())


# JSON output


def test_a_schema_goes_both_ways() -> None:
    ours = {"format": {"type": "json_schema", "schema": SCHEMA}}
    theirs = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert to_openai(output_config=ours) == ({**to_openai()[0], "response_format": theirs}, ())
    assert to_anthropic(response_format=theirs) == ({**to_anthropic()[0], "output_config": ours}, ())


def test_an_open_schema_is_closed_for_anthropic_and_not_strict_for_openai() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}}
    body, report = to_anthropic(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    told = body["output_config"]["format"]["schema"]
    assert told["additionalProperties"] is told["properties"]["a"]["items"]["additionalProperties"] is False
    assert report == ("json_schema",)
    body, report = to_openai(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert (body["response_format"]["json_schema"]["strict"], report) == (False, ("json_schema",))


def test_json_mode_becomes_an_instruction_behind_the_system_prompt() -> None:
    messages = [{"role": "system", "content": "be kind"}, USER]
    body, report = to_anthropic(messages=messages, response_format={"type": "json_object"})
    assert body["system"][0] == text("be kind")
    assert "JSON object" in body["system"][1]["text"]
    assert report == ("json_mode",)


def test_a_schema_becomes_an_instruction_for_a_model_without_structured_output() -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    body, report = to_anthropic(model="some-other-model", response_format=wanted)
    assert json.dumps(SCHEMA, separators=(",", ":")) in body["system"]
    assert report == ("json_schema",)


# Users, tiers, and everything that cannot be mapped


def test_the_end_user_goes_both_ways() -> None:
    assert to_openai(metadata={"user_id": "u1"})[0]["safety_identifier"] == "u1"
    assert to_openai(metadata={"user_id": "u1"}, newest=False)[0]["user"] == "u1"
    assert to_anthropic(safety_identifier="u1", user="u2")[0]["metadata"] == {"user_id": "u1"}
    assert to_anthropic(user="u2")[0]["metadata"] == {"user_id": "u2"}


A_LOST: list[tuple[str, dict[str, Any]]] = [
    ("service_tier", {"service_tier": "standard_only"}),
    ("speed", {"speed": "fast"}),
    ("inference_geo", {"inference_geo": "us"}),
    ("cache_control", {"cache_control": {"type": "ephemeral"}}),
    ("server_state", {"container": "c"}),
    ("server_state", {"thread": {"id": "t"}}),
    ("server_state", {"messages": [{"role": "user", "content": [text("x"), {"type": "container_upload"}]}]}),
    ("server_tools", {"mcp_servers": [{"url": "https://x.test"}]}),
    ("server_tools", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("server_tools", {"messages": [USER, {"role": "assistant", "content": [{"type": "server_tool_use"}]}, USER]}),
    (
        "server_tools",
        {"messages": [USER, {"role": "assistant", "content": [{"type": "web_search_tool_result"}]}, USER]},
    ),
    ("custom_tools", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
    ("tool_options", {"tools": [{**A_TOOL, "defer_loading": True}]}),
    ("beta_features", {"fallbacks": [{"model": "x"}]}),
    ("files", {"messages": [{"role": "user", "content": [text("x"), {"type": "image", "source": {"type": "file"}}]}]}),
    (
        "files",
        {
            "messages": [
                {"role": "user", "content": [text("x"), {"type": "document", "source": {"type": "url", "url": "u"}}]}
            ]
        },
    ),
    ("unknown_blocks", {"messages": [{"role": "user", "content": [text("x"), {"type": "hologram"}]}]}),
    ("unknown_fields", {"brand_new": 1}),
]
O_LOST: list[tuple[str, dict[str, Any]]] = [
    ("service_tier", {"service_tier": "flex"}),
    ("logprobs", {"logprobs": True}),
    ("n", {"n": 2}),
    ("audio", {"modalities": ["text", "audio"]}),
    ("audio", {"messages": [{"role": "user", "content": [text("x"), {"type": "input_audio"}]}]}),
    ("files", {"messages": [{"role": "user", "content": [text("x"), {"type": "file", "file": {"file_id": "f"}}]}]}),
    ("prediction", {"prediction": {"type": "content"}}),
    ("verbosity", {"verbosity": "low"}),
    ("store", {"store": True}),
    ("metadata", {"metadata": {"a": "b"}}),
    ("moderation", {"moderation": {"model": "x"}}),
    ("prompt_cache", {"prompt_cache_key": "k"}),
    ("server_tools", {"web_search_options": {}}),
    ("server_state", {"previous_response_id": "r"}),
    ("custom_tools", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
    ("functions", {"functions": [{"name": "x"}]}),
    ("unknown_blocks", {"messages": [{"role": "user", "content": [text("x"), {"type": "hologram"}]}]}),
    ("unknown_fields", {"brand_new": 1}),
]


@pytest.mark.parametrize(
    ("translate", "word", "fields"),
    [(to_openai, *each) for each in A_LOST] + [(to_anthropic, *each) for each in O_LOST],
)
def test_what_cannot_be_mapped_is_dropped_and_reported_or_refused_by_policy(
    translate: Any, word: str, fields: dict[str, Any]
) -> None:
    _, report = translate(**fields)
    assert report == (word,)
    with pytest.raises(BadRequest, match=FEATURES[word].why) as caught:
        translate(**fields, policy=LossPolicy("drop", {word: "refuse"}))
    assert caught.value.code == NOT_TRANSLATABLE
    by_default = LossPolicy()
    if FEATURES[word].default == "refuse":
        with pytest.raises(BadRequest, match=f"lossy: {{{word}: drop}}"):
            translate(**fields, policy=by_default)
    else:
        assert translate(**fields, policy=by_default)[1] == (word,)


def test_every_word_says_why_and_what_happens_by_default() -> None:
    assert all(feature.why and feature.default in ("refuse", "drop") for feature in FEATURES.values())
    assert all(word.replace("_", "").isalpha() for word in FEATURES)


def test_a_policy_with_a_word_that_is_none_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no feature `tempo`"):
        LossPolicy(features={"tempo": "drop"})
    with pytest.raises(ConfigError, match="neither refuse nor drop"):
        LossPolicy(features={"seed": "keep"})  # type: ignore[dict-item]  # the mistake under test


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "the request body must be an object"),
        (b"{", "not valid JSON"),
        (b'{"model": "\xff"}', "UTF-8 at byte 11"),
        (b'{"model": "x", "messages": [], "max_tokens": NaN}', "NaN is no number"),
        (b'{"model": "x", "messages": [], "max_tokens": 1e999}', "too large"),
        (b'{"model": "x"}', "`messages` must be an array, not nothing"),
        (b'{"model": "x", "messages": []}', "at least one user message"),
        (b'{"model": "x", "messages": [{"role": "king"}]}', "`messages.0.role` must be one of"),
        (b'{"model": "x", "messages": [{"role": "user", "content": [3]}]}', "`messages.0.content.0` must be an object"),
        (b'{"model": "x", "messages": ' + b"[" * 500 + b"]" * 500 + b"}", "deeper than 200"),
        (b'{"model": 1, "messages": []}', "`model` must be a string"),
    ],
)
def test_a_body_that_is_wrong_in_itself_is_refused_with_the_place(body: bytes, words: str) -> None:
    for source, target in (("anthropic", "openai"), ("openai", "anthropic")):
        with pytest.raises(BadRequest) as caught:
            translate_request(source, target, body, model="m", max_output_tokens_default=5)
        assert words in str(caught.value)
        assert caught.value.code == "invalid_request"


def test_there_is_no_translation_to_a_dialect_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="no translation"):
        translate_request("anthropic", "gemini", b'{"model": "x"}', model="m")
