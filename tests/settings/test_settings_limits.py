"""`limits:` of everybody and of keys are read whole, checked against each other, and become the core's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.core.limits import Limit
from headgate.settings import Settings, load
from headgate.settings.limits import limits_of
from headgate.settings.policies import DIMENSIONS


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env={})


def wrong(tmp_path: Path, text: str) -> list[str]:
    """Every mistake, without the file's directory."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return [line.partition("headgate.yaml:")[2].replace(f"{tmp_path}/", "") for line in caught.value.mistakes]


def test_a_limit_says_whose_calls_it_counts_and_where_it_is_written(tmp_path: Path) -> None:
    text = "limits:\n  - {per: [user, tenant], only: {task: x}, requests_per_minute: 60, tokens_per_minute: 100_000}\n"
    assert limits_of(loaded(tmp_path, text)) == (
        Limit(("tenant", "user"), 60, 100_000, (("task", "x"),), f"{tmp_path}/headgate.yaml:2:5"),
    )


@pytest.mark.parametrize("name", [*DIMENSIONS, "address", "tag:team"])
def test_every_dimension_can_be_limited_by_and_filtered_by(tmp_path: Path, name: str) -> None:
    value = "openai" if name == "provider" else "x"
    text = f"limits: [{{per: '{name}', only: {{'{name}': {value}}}, requests_per_minute: 1}}]"
    (found,) = limits_of(loaded(tmp_path, text))
    assert (found.per, found.only) == ((name,), ((name, value),))


def test_a_keys_own_limits_are_for_its_calls_only(tmp_path: Path) -> None:
    text = (
        "limits: [{requests_per_minute: 100}]\n"
        "keys: [{name: ada, key: env:K, limits: [{per: user, only: {task: t}, tokens_per_minute: 5}]}]"
    )
    everybody, own = limits_of(loaded(tmp_path, text))
    assert (everybody.per, everybody.only, everybody.requests_per_minute) == ((), (), 100)
    assert (own.per, own.only, own.tokens_per_minute) == (("user",), (("key", "ada"), ("task", "t")), 5)
    assert own.source == f"{tmp_path}/headgate.yaml:2:41"


def test_requests_and_tokens_of_the_same_calls_may_stand_in_two_entries(tmp_path: Path) -> None:
    text = "limits: [{per: user, requests_per_minute: 1}, {per: user, tokens_per_minute: 1}]"
    assert len(limits_of(loaded(tmp_path, text))) == 2


def test_mistakes_of_limits_are_told_at_their_places(tmp_path: Path) -> None:
    text = """\
models: {fast: [anthropic/x]}
limits:
  - {per: usr, requests_per_minute: 0}
  - {per: [user, user], tokens_per_minute: 1.5}
  - {per: user}
  - {per: tenant, requests_per_minute: 5}
  - {per: [tenant], requests_per_minute: 6, burst: 5}
  - {only: {provider: opnai, model: fast, adress: x}, requests_per_minute: 6}
keys:
  - {name: ada, key: env:K, limits: [{only: {key: bob}, requests_per_minute: 5}, {}]}
"""
    assert [line.partition(", not")[0].partition("; ")[0] for line in wrong(tmp_path, text)] == [
        "3:11: limits[0].per: expected one of tenant, key, user, session, task, feature, model, provider, environment, "
        "address or tag:<name>",
        "3:37: limits[0].requests_per_minute: expected a whole number from 1 to 1_000_000_000",
        "4:11: limits[1].per: names 'user' twice: keep one",
        "4:44: limits[1].tokens_per_minute: expected a whole number from 1 to 1_000_000_000_000",
        "5:5: limits[2]: a limit needs requests_per_minute or tokens_per_minute",
        "7:45: limits[4]: unknown key 'burst'",
        "8:23: limits[5].only.provider: no provider is named 'opnai'",
        "8:37: limits[5].only.model: 'fast' is a virtual model",
        "8:43: limits[5].only.adress: expected one of tenant, key, user, session, task, feature, model, provider, "
        "environment, address or tag:<name>",
        "10:46: keys[0].limits[0].only.key: a key's own limits are for its calls already",
        "10:82: keys[0].limits[1]: a limit needs requests_per_minute or tokens_per_minute",
    ]


def test_two_limits_of_the_same_calls_in_the_same_unit_are_a_mistake_that_names_both(tmp_path: Path) -> None:
    text = "limits:\n  - {per: tenant, requests_per_minute: 5}\n  - {per: [tenant], requests_per_minute: 6}\n"
    assert wrong(tmp_path, text) == [
        "3:5: limits[1]: limits requests of the same calls as limits[0] (headgate.yaml:2:5): the lower one counts, "
        "keep it"
    ]


def test_trusted_proxies_are_addresses_and_networks(tmp_path: Path) -> None:
    found = loaded(tmp_path, "server: {trusted_proxies: [10.0.0.0/8, 127.0.0.1, '::1']}").server.trusted_proxies
    assert found == ("10.0.0.0/8", "127.0.0.1/32", "::1/128")
    assert Settings().server.trusted_proxies == ()
    assert wrong(tmp_path, "server: {trusted_proxies: [proxy.example, 10.0.0.1/8]}") == [
        "1:28: server.trusted_proxies[0]: expected an IP address or a network in CIDR notation, like 10.0.0.7 or "
        "10.0.0.0/8, not 'proxy.example'",
        "1:43: server.trusted_proxies[1]: expected an IP address or a network in CIDR notation, like 10.0.0.7 or "
        "10.0.0.0/8, not '10.0.0.1/8'",
    ]
