"""The cache's keys and rules: what shares an answer, what does not, and what is not kept at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.guards import Finding, Verdict
from headgate.policy.asking import key_of
from headgate.policy.caching import LARGEST_REQUEST, CacheRules, Wanted, partition, unfit
from headgate.policy.shaping import History, Shape

ROUTE = Route("anthropic", "claude-haiku-4-5", "anthropic", "https://anthropic.test")
RULES = CacheRules(60.0)
BODY: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
NAMES = st.sampled_from(["acme", "globex", "a", "b", "", "a\0b", "\ud800"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
LEFT_OUT = {"model", "stream", "stream_options", "metadata", "store"}
LEFT_OUT |= {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}


def a_request(body: Any = None, *, dialect: str = "anthropic", caller: Caller | None = None, **more: Any) -> Request:
    raw = json.dumps(BODY if body is None else body).encode() if not isinstance(body, bytes) else body
    endpoint = more.pop("endpoint", "messages" if dialect == "anthropic" else "chat")
    facts = more.pop("facts", Facts("m"))
    path = more.pop("path", "/v1/messages")
    headers = more.pop("headers", ())
    return Request(
        dialect, endpoint, "POST", path, headers, raw, facts, caller or Caller(tenant="acme"), "gateway", **more
    )


def wanted(request: Request, rules: CacheRules = RULES, routes: Any = (ROUTE,), **more: Any) -> Wanted | None:
    return rules.wanted(request, request.body, routes, **more)


def key(request: Request, rules: CacheRules = RULES, routes: Any = (ROUTE,), **more: Any) -> str:
    found = wanted(request, rules, routes, **more)
    assert found is not None
    assert not found.why, found.why
    return found.key


# Keys


def test_what_is_only_compacted_is_no_answer_though_it_is_asked_for_in_the_same_words() -> None:
    one, other = (
        a_request(dialect="openai", endpoint="responses", path=path) for path in ("/responses", "/responses/compact")
    )
    assert key(one) != key(other)
    assert key_of(one) != key_of(other)


def test_an_answer_to_a_shortened_conversation_is_none_to_the_whole_one() -> None:
    shapes = (None, Shape(History(turns=1)), Shape(History(turns=2)), Shape(compact=True))
    assert len({key(a_request(), shape=each) for each in shapes}) == len(shapes)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6), st.randoms(), st.sampled_from(["anthropic", "openai"]))
def test_neither_the_order_of_keys_nor_white_space_changes_a_key(
    more: dict[str, Any], random: Any, dialect: str
) -> None:
    told = {**more, **BODY}
    assume(not more.get("store"))

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        if not isinstance(value, dict):
            return value
        items = list(value.items())
        random.shuffle(items)
        return {name: shuffled(each) for name, each in items}

    other = json.dumps(shuffled(told), indent=random.choice([None, 1, 4]), ensure_ascii=random.choice([True]))
    one, two = a_request(told, dialect=dialect), a_request(other.encode(), dialect=dialect)
    assert key(one) == key(two)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.text(max_size=8), JSON, JSON)
def test_any_other_value_of_any_parameter_changes_a_key_unknown_ones_too(
    more: dict[str, Any], name: str, before: Any, after: Any
) -> None:
    assume(name not in LEFT_OUT)
    assume(json.dumps(before, sort_keys=True) != json.dumps(after, sort_keys=True))
    more = {each: value for each, value in more.items() if each not in LEFT_OUT}
    for dialect in ("anthropic", "openai"):
        one = a_request({**BODY, **more, name: before}, dialect=dialect)
        two = a_request({**BODY, **more, name: after}, dialect=dialect)
        assert key(one) != key(two)
        without = {each: value for each, value in {**BODY, **more}.items() if each != name}
        assert key(one) != key(a_request(without, dialect=dialect))


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be kind."},
        {"messages": [{"role": "user", "content": "hi "}]},
        {"messages": [{"role": "assistant", "content": "hi"}]},
        {"messages": [*BODY["messages"], *BODY["messages"]]},
        {"max_tokens": 10},
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"seed": 7},
        {"stop_sequences": ["x"]},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"tool_choice": {"type": "any"}},
        {"response_format": {"type": "json_object"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"service_tier": "flex"},
        {"made_up_next_year": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key(a_request({**BODY, **change})) != key(a_request())


def test_true_one_and_the_text_of_it_are_three_things() -> None:
    values = (True, 1, "1", "true", 1.5, None, [], {}, "")
    assert len({key(a_request({**BODY, "x": value})) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("dialect", "change"),
    [
        ("anthropic", {"metadata": {"user_id": "ada"}}),
        ("openai", {"user": "ada"}),
        ("openai", {"safety_identifier": "ada"}),
        ("openai", {"metadata": {"ticket": "7"}}),
        ("openai", {"store": False}),
        ("openai", {"prompt_cache_key": "k"}),
        ("openai", {"stream_options": {"include_obfuscation": False}}),
        ("anthropic", {"model": "an alias of the same route"}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_who_asks_and_how_it_is_filed_do_not_change_the_key(dialect: str, change: dict[str, Any]) -> None:
    assert key(a_request({**BODY, **change}, dialect=dialect)) == key(a_request(dialect=dialect))


def test_what_else_anthropics_metadata_may_say_one_day_changes_the_key() -> None:
    told = {"user_id": "ada", "persona": "pirate"}
    assert key(a_request({**BODY, "metadata": told})) != key(a_request())


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_tenants_never_share_and_neither_do_two_keys_without_one(
    tenant: str, key_name: str, other_tenant: str, other_key: str
) -> None:
    one = a_request(caller=Caller(key=key_name, tenant=tenant))
    two = a_request(caller=Caller(key=other_key, tenant=other_tenant))
    same = tenant == other_tenant if tenant or other_tenant else key_name == other_key
    assert (key(one) == key(two)) is same
    assert (key(one)[:17] == key(two)[:17]) is same


def test_a_tenant_and_a_key_of_the_same_name_do_not_share() -> None:
    assert key(a_request(caller=Caller(tenant="acme"))) != key(a_request(caller=Caller(key="acme")))


def test_in_process_two_credentials_do_not_share_where_no_tenant_is_told() -> None:
    def asked(secret: bytes, **who: str) -> str:
        direct = Route("anthropic", "", "anthropic", "https://anthropic.test")
        return key(a_request(caller=Caller(**who), direct=direct, headers=((b"x-api-key", secret),)))

    assert asked(b"one") != asked(b"two")
    assert asked(b"one", tenant="acme") == asked(b"two", tenant="acme")


def test_no_credential_and_no_name_can_be_read_off_a_key() -> None:
    found = key(a_request(caller=Caller(tenant="acme", user="ada")))
    assert len(found) == 16 + 1 + 64
    assert set(found) <= set("0123456789abcdef:")
    assert found.startswith(partition(tenant="acme") + ":")


@pytest.mark.parametrize(
    "change",
    [
        {"headers": ((b"anthropic-beta", b"context-1m"),)},
        {"headers": ((b"anthropic-version", b"2024-01-01"),)},
        {"path": "/v1/messages?beta=true"},
        {"facts": Facts("m", stream=True)},
        {"endpoint": "chat"},
        {"dialect": "openai"},
    ],
)
def test_what_stands_outside_the_body_changes_the_key_where_it_changes_the_answer(change: dict[str, Any]) -> None:
    assert key(a_request(**change)) != key(a_request())


def test_beta_features_have_no_order() -> None:
    one = a_request(headers=((b"anthropic-beta", b"a, b"),))
    two = a_request(headers=((b"anthropic-beta", b"b"), (b"x-stainless-os", b"Linux"), (b"anthropic-beta", b"a")))
    assert key(one) == key(two)


def test_routes_caps_rules_and_versions_are_parts_of_the_key_and_the_order_of_routes_is_not() -> None:
    other = replace(ROUTE, model="claude-opus-5-5")
    made = [
        key(a_request()),
        key(a_request(), routes=(other,)),
        key(a_request(), routes=(ROUTE, other)),
        key(a_request(), output_cap=5),
        key(a_request(), answer="a schema"),
        key(a_request(), replace(RULES, version="2")),
        key(a_request(), routes=(replace(ROUTE, base_url="https://elsewhere.test"),)),
    ]
    assert len(set(made)) == len(made)
    assert key(a_request(), routes=(other, ROUTE)) == made[2]


def test_a_chunk_of_usage_that_was_asked_for_makes_another_stream() -> None:
    plain, told = Facts("m", stream=True), Facts("m", stream=True, include_usage=True)
    assert key(a_request(dialect="openai", facts=plain)) != key(a_request(dialect="openai", facts=told))


def test_per_user_two_users_do_not_share_and_nobody_in_particular_gets_nothing() -> None:
    rules = CacheRules(60.0, per_user=True)
    ada, bob = (a_request(caller=Caller(tenant="acme", user=user)) for user in ("ada", "bob"))
    assert key(ada, rules) != key(bob, rules)
    assert key(ada, RULES) == key(bob, RULES)
    found = wanted(a_request(caller=Caller(tenant="acme")), rules)
    assert found is not None
    assert found.why == "user"


# What passes the cache by


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","x":1,"x":2}',
        b'{"model":"m","messages":[{"role":"user","content":"evil","content":"hi"}]}',
        b'{"model":"m","x":1e999}',
        b'{"model":"m","x":NaN}',
        b"[1]",
        b"{",
        b"\xff",
        b'{"model":' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_a_body_that_two_readers_might_take_for_two_things_has_no_key(body: bytes) -> None:
    found = wanted(a_request(body))
    assert found is not None
    assert (found.key, found.why) == ("", "body")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_it_raise(body: bytes) -> None:
    wanted(a_request(body), CacheRules())
    assert wanted(a_request(body)) is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"facts": Facts("m", state=("resp_1",))}, "state"),
        ({"facts": Facts("m", server_side=True)}, "state"),
        ({"facts": Facts("m", keeps=True)}, "state"),
        ({"facts": Facts("m", background=True)}, "state"),
        ({"facts": Facts("m", choices=2)}, "choices"),
        ({"cache": "off"}, "off"),
        ({"dialect": "openai", "body": {**BODY, "store": True}}, "state"),
        ({"body": {**BODY, "x": "y" * LARGEST_REQUEST}}, "size"),
    ],
)
def test_what_passes_the_cache_by_says_why(change: dict[str, Any], why: str) -> None:
    found = wanted(a_request(**change))
    assert found is not None
    assert (found.key, found.why) == ("", why)


@pytest.mark.parametrize("endpoint", ["count_tokens", "models", "moderations", "stored", "other"])
def test_other_endpoints_are_not_the_caches_affair(endpoint: str) -> None:
    assert wanted(a_request(endpoint=endpoint)) is None


# For how long


def test_a_task_says_more_than_a_key_and_a_key_more_than_the_default() -> None:
    rules = CacheRules(1.0, {"t": 3.0, "off": 0.0}, {"k": 2.0})
    assert rules.seconds(Caller()) == 1.0
    assert rules.seconds(Caller(key="k")) == 2.0
    assert rules.seconds(Caller(key="k", task="t")) == 3.0
    assert rules.seconds(Caller(key="k", task="other")) == 2.0
    assert wanted(a_request(caller=Caller(key="k", task="off")), rules) is None


@pytest.mark.parametrize(
    ("temperature", "kept"),
    [
        ("0", True),
        ("0.0", True),
        ("-0.0", True),
        ("0e5", True),
        ("1", False),
        ("0.1", False),
        ("false", False),
        ("null", False),
        ('"0"', False),
        ("[0]", False),
    ],
)
def test_by_default_only_temperature_0_is_kept(temperature: str, kept: bool) -> None:
    body = b'{"model":"m","messages":[],"temperature":' + temperature.encode() + b"}"
    found = wanted(a_request(body), CacheRules())
    assert (found is not None) is kept
    assert wanted(a_request(body), CacheRules(0.0)) is None


def test_a_temperature_inside_of_something_else_is_none() -> None:
    body = {**BODY, "messages": [{"role": "user", "content": "x", "temperature": 0}], "note": '"temperature": 0'}
    assert wanted(a_request(body), CacheRules()) is None


# What of what came is kept


def an_exchange(stop: str = "end_turn", **more: Any) -> Exchange:
    attempt = Attempt(1, ROUTE, 0.0, stop_reason=stop)
    return Exchange("ex_1", a_request(), 0.0, [attempt], ending=Ending.COMPLETE, status=200, **more)


@pytest.mark.parametrize(
    "stop", ["end_turn", "stop_sequence", "tool_use", "stop", "tool_calls", "function_call", "completed"]
)
def test_complete_answers_are_kept(stop: str) -> None:
    assert unfit(an_exchange(stop)) == ""


@pytest.mark.parametrize(
    "stop",
    [
        "max_tokens",
        "length",
        "refusal",
        "content_filter",
        "pause_turn",
        "model_context_window_exceeded",
        "",
        "new_word",
        "incomplete",
        "max_output_tokens",
    ],
)
def test_answers_that_stop_otherwise_are_not(stop: str) -> None:
    assert unfit(an_exchange(stop)) == "stop"


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.COMPLETE])
def test_nothing_but_a_complete_exchange_is_kept(ending: Ending) -> None:
    exchange = an_exchange()
    exchange.ending = ending
    assert unfit(exchange) == "ending"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"findings": (Finding("pii", Verdict.FLAG),)}, "flagged"),
        ({"findings": (Finding("links", Verdict.REDACT),)}, "flagged"),
        ({"degraded": "budget all: claude-haiku-4-5"}, "degraded"),
        ({"stood_in": True}, "degraded"),
        ({"upstream_gateway": "ex_2"}, "gateway"),
        ({"kept": (object(),)}, "state"),
    ],
)
def test_flagged_degraded_and_stateful_answers_are_not_kept(change: dict[str, Any], why: str) -> None:
    assert unfit(an_exchange(**change)) == why


def test_an_answer_that_lost_something_in_translation_is_not_kept() -> None:
    exchange = an_exchange()
    exchange.attempts[0].lost = ("seed",)
    assert unfit(exchange) == "degraded"
