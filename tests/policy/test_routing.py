"""Which routes may serve a name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import NotServed
from headgate.core.exchange import Facts, Request, Route
from headgate.core.secret import Secret
from headgate.policy.routing import Router

CLAUDE = Route("anthropic", "", "anthropic", "https://claude.test", Secret("fake-a"))
ACME = Route("acme", "", "anthropic", "https://acme.test", Secret("fake-b"), drain=True)
GPT = Route("openai", "", "openai", "https://gpt.test/v1", Secret("fake-c"))
LOCAL = Route("local", "", "openai", "http://127.0.0.1:11434/v1")
FAST = (replace(CLAUDE, model="haiku"), replace(ACME, model="small"), replace(GPT, model="luna"))

ROUTER = Router(
    providers={r.provider: r for r in (CLAUDE, ACME, GPT, LOCAL)},
    models={"fast": FAST, "gpt": (replace(GPT, model="sol"),), "acme/own": (replace(CLAUDE, model="opus"),)},
    defaults={"anthropic": "anthropic", "openai": "openai"},
)


def request(
    model: str, dialect: str = "anthropic", direct: Route | None = None, *, endpoint: str = "messages"
) -> Request:
    return Request(
        dialect, endpoint, "POST", "/v1/messages", (), b"", Facts(model=model), Caller(), "gateway", direct=direct
    )


UNTRANSLATED = ["count_tokens", "responses", "embeddings", "stored", "other"]


def test_a_bare_name_goes_to_the_dialects_own_provider_which_decides_whether_it_exists() -> None:
    assert ROUTER.routes(request("claude-haiku-4-5")) == [replace(CLAUDE, model="claude-haiku-4-5")]
    assert ROUTER.routes(request("anything", "openai")) == [replace(GPT, model="anything")]


@pytest.mark.parametrize("mark", "/:")
def test_a_provider_before_a_slash_or_a_colon_is_asked_for_the_rest(mark: str) -> None:
    assert ROUTER.routes(request(f"acme{mark}big")) == [replace(ACME, model="big")]
    assert ROUTER.routes(request(f"local{mark}qwen3:8b", "openai")) == [replace(LOCAL, model="qwen3:8b")]


@pytest.mark.parametrize("name", ["meta/llama", "ft:gpt:mine", "acme/", "/x", ":", ""])
def test_a_name_whose_first_part_is_no_provider_is_a_bare_name(name: str) -> None:
    assert ROUTER.routes(request(name)) == [replace(CLAUDE, model=name)]


@pytest.mark.parametrize("endpoint", ["messages", "chat"])
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_virtual_models_routes_come_in_order_whatever_they_speak(endpoint: str, dialect: str) -> None:
    assert ROUTER.routes(request("fast", dialect, endpoint=endpoint)) == list(FAST)


@pytest.mark.parametrize("endpoint", UNTRANSLATED)
def test_of_what_is_not_translated_only_routes_of_the_callers_dialect_serve(endpoint: str) -> None:
    assert ROUTER.routes(request("fast", endpoint=endpoint)) == list(FAST[:2])
    assert ROUTER.routes(request("fast", "openai", endpoint=endpoint)) == [FAST[2]]


def test_a_provider_of_the_other_dialect_is_asked_by_name() -> None:
    assert ROUTER.routes(request("openai/luna")) == [FAST[2]]
    assert ROUTER.routes(request("anthropic:haiku", "openai", endpoint="chat")) == [FAST[0]]


def test_what_one_endpoint_may_do_with_a_name_says_nothing_about_another() -> None:
    router = replace(ROUTER, _seen={})
    for endpoint, served in (("messages", 3), ("count_tokens", 2), ("messages", 3)):
        assert len(router.routes(request("fast", endpoint=endpoint))) == served


def test_a_virtual_model_wins_over_a_providers_name() -> None:
    assert ROUTER.routes(request("acme/own")) == [replace(CLAUDE, model="opus")]


@pytest.mark.parametrize("endpoint", UNTRANSLATED)
@pytest.mark.parametrize("name", ["gpt", "openai/sol"])
def test_a_name_of_the_other_dialect_only_is_refused_and_says_what_to_do(name: str, endpoint: str) -> None:
    with pytest.raises(NotServed, match=r"served in the openai dialect.*through the other SDK") as caught:
        ROUTER.routes(request(name, endpoint=endpoint))
    assert (caught.value.code, caught.value.status_hint) == ("model_not_found", 404)


def test_a_dialect_without_a_provider_is_refused() -> None:
    with pytest.raises(NotServed, match="no provider of the openai dialect"):
        replace(ROUTER, defaults={"anthropic": "anthropic"}, _seen={}).routes(request("x", "openai"))


def test_a_name_of_any_length_is_not_echoed_whole() -> None:
    with pytest.raises(NotServed) as caught:
        ROUTER.routes(request("openai/" + "x" * 10_000, endpoint="count_tokens"))
    assert len(str(caught.value)) < 500


# In process: the SDK has its own base URL and key


def direct(provider: str, dialect: str, base: str) -> Route:
    return Route(provider, "", dialect, base, None)


def test_in_process_a_bare_name_goes_to_the_sdks_own_base_url() -> None:
    own = direct("anthropic", "anthropic", "https://elsewhere.test")
    assert ROUTER.routes(request("claude", direct=own)) == [replace(own, model="claude")]


def test_in_process_a_bare_name_stays_at_another_provider_that_the_sdk_has_chosen() -> None:
    own = direct("local", "openai", "http://127.0.0.1:11434/v1")
    assert ROUTER.routes(request("qwen3", "openai", own)) == [replace(own, model="qwen3")]


def test_in_process_only_the_route_of_the_sdks_own_provider_uses_its_key() -> None:
    own = direct("anthropic", "anthropic", "https://elsewhere.test")
    assert ROUTER.routes(request("fast", direct=own)) == [replace(own, model="haiku"), *FAST[1:]]


def test_in_process_another_provider_is_asked_by_name_with_its_configured_key() -> None:
    own = direct("anthropic", "anthropic", "https://elsewhere.test")
    assert ROUTER.routes(request("acme/big", direct=own)) == [replace(ACME, model="big")]


# Providers whose credential could not be read

UNREADY = replace(ROUTER, unready={"anthropic": "the variable KEY is not set"}, _seen={})


def test_a_provider_without_its_credential_is_passed_over() -> None:
    assert UNREADY.routes(request("fast")) == list(FAST[1:])


def test_where_no_other_provider_is_left_a_gateways_caller_learns_nothing_of_where_keys_are_kept() -> None:
    with pytest.raises(
        NotServed, match="provider anthropic cannot be used: the gateway has no key for it now"
    ) as caught:
        UNREADY.routes(request("claude"))
    assert (caught.value.code, caught.value.status_hint) == ("provider_not_configured", 503)


def test_in_process_the_sdk_brings_the_credential_that_the_configuration_lacks() -> None:
    own = direct("anthropic", "anthropic", "https://claude.test")
    assert UNREADY.routes(request("claude", direct=own)) == [replace(own, model="claude")]


@pytest.mark.parametrize("model", ["claude", "fast"])
def test_in_process_a_route_is_the_same_object_from_call_to_call_and_another_clients_is_its_own(model: str) -> None:
    router = replace(ROUTER, _seen={}, _own={})
    own = direct("anthropic", "anthropic", "https://elsewhere.test")
    first = router.routes(request(model, direct=own))[0]
    assert router.routes(request(model, direct=replace(own)))[0] is first
    drains = replace(own, drain=True)
    assert router.routes(request(model, direct=drains))[0] == replace(first, drain=True)


def test_made_up_names_cannot_fill_the_memory() -> None:
    router = replace(ROUTER, _seen={}, _own={})
    own = direct("local", "openai", "http://127.0.0.1:11434/v1")
    for number in range(5000):
        router.routes(request(f"model-{number}"))
        router.routes(request(f"model-{number}", direct=own))
    assert len(router._seen) <= 4096
    assert len(router._own) <= 4096
    assert router.routes(request("model-4999")) == [replace(CLAUDE, model="model-4999")]
