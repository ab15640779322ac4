"""Settings of traffic: a provider's own, the retry budget, fair shares, and which timers an attempt has."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.core.ports import Timeouts
from headgate.policy import fair_queue, retry_budget
from headgate.settings import Settings, load
from headgate.settings.model import FairnessSettings, ProviderSettings
from headgate.settings.traffic import timeouts_of


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env=env or {})


def wrong(tmp_path: Path, text: str) -> list[str]:
    """Every mistake, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return [line.partition("headgate.yaml:")[2] for line in caught.value.mistakes]


def provider(tmp_path: Path, entry: str) -> ProviderSettings:
    return loaded(tmp_path, f"providers: {{openai: {entry}}}").providers["openai"]


def test_without_a_word_everything_is_at_the_policies_own_defaults() -> None:
    found = Settings()
    assert found.retry.budget_basis_points == round(retry_budget.SHARE * 10_000)
    assert found.fairness.batch_floor_basis_points == round(fair_queue.BATCH_FLOOR * 10_000)
    assert found.fairness.tenants == {}
    each = found.providers["openai"]
    assert (each.pacing, each.concurrency, each.breaker, each.slow_seconds) == (True, "auto", True, None)
    assert (each.requests_per_minute, each.tokens_per_minute, each.timeouts) == (None, None, {})


def test_a_provider_says_all_of_its_own_traffic(tmp_path: Path) -> None:
    found = provider(
        tmp_path,
        "{requests_per_minute: 50, tokens_per_minute: 10_000, concurrency: 8, timeouts: {idle: 5m}, "
        "breaker: {slow: 500ms}}",
    )
    assert (found.requests_per_minute, found.tokens_per_minute) == (50, 10_000)
    assert (found.concurrency, found.timeouts) == (8, {"idle": 300.0})
    assert (found.breaker, found.slow_seconds) == (True, 0.5)


@pytest.mark.parametrize(("written", "meant"), [("off", "off"), ("no", "off"), ("auto", "auto"), ("1", 1)])
def test_concurrency_is_auto_off_or_a_number(tmp_path: Path, written: str, meant: object) -> None:
    assert provider(tmp_path, f"{{concurrency: {written}}}").concurrency == meant


@pytest.mark.parametrize(("written", "meant"), [("on", True), ("off", False), ("{}", True)])
def test_a_breaker_is_on_or_off(tmp_path: Path, written: str, meant: bool) -> None:
    found = provider(tmp_path, f"{{breaker: {written}, pacing: off}}")
    assert (found.breaker, found.slow_seconds, found.pacing) == (meant, None, False)


def test_mistakes_of_a_provider_are_told_at_their_places(tmp_path: Path) -> None:
    text = """\
providers:
  openai:
    requests_per_minute: 0
    tokens_per_minute: 1e6
    pacing: sometimes
    concurrency: oto
    timeouts: {total: 5s, frist_byte: 1s, idle: 0s}
    breaker: {slow: 0s, fast: 1s}
  anthropic: {pacing: off, tokens_per_minute: 5, breaker: maybe}
"""
    assert [line[: len(line.partition(", not")[0])] for line in wrong(tmp_path, text)] == [
        "3:26: providers.openai.requests_per_minute: expected a whole number from 1 to 1_000_000_000",
        "4:24: providers.openai.tokens_per_minute: expected a whole number from 1 to 1_000_000_000_000",
        "5:13: providers.openai.pacing: expected true or false",
        "6:18: providers.openai.concurrency: expected auto, off, or a whole number from 1 to 100_000",
        "7:23: providers.openai.timeouts.total: is the whole exchange's, over all its providers: write it under "
        "`timeouts` or a task",
        "7:27: providers.openai.timeouts: unknown key 'frist_byte'; did you mean 'first_byte'?",
        "7:49: providers.openai.timeouts.idle: expected a duration from 1ms to 1d, like 500ms, 30s, 5m, 1h or 30d",
        "8:21: providers.openai.breaker.slow: expected a duration from 1ms to 1d, like 500ms, 30s, 5m, 1h or 30d",
        "8:25: providers.openai.breaker: unknown key 'fast'; known keys: slow",
        "9:47: providers.anthropic.tokens_per_minute: is kept by pacing, and `pacing` is off: switch it on, or remove "
        "this",
        "9:59: providers.anthropic.breaker: expected on or off",
    ]


@pytest.mark.parametrize(("written", "meant"), [("off", None), ("0%", 0), ("12.5%", 1250), ("100%", 10_000)])
def test_a_retry_budget_is_a_share_of_successes_or_off(tmp_path: Path, written: str, meant: int | None) -> None:
    found = loaded(tmp_path, f"retry: {{budget: {written}}}\ntasks: {{t: {{retry: {{attempts: 2}}}}}}")
    assert found.retry.budget_basis_points == meant
    assert found.tasks["t"].retry.budget_basis_points == meant


def test_a_retry_budget_is_a_providers_and_not_a_tasks(tmp_path: Path) -> None:
    text = "retry: {budget: 20}\ntasks: {t: {retry: {budget: 5%}}}"
    assert wrong(tmp_path, text) == [
        "1:17: retry.budget: expected a percentage from 0% up to 100%, like 20%, or off, not '20'",
        "2:21: tasks.t.retry: unknown key 'budget'; known keys: attempts, deadline",
    ]


def test_tenants_have_weights_and_batch_has_a_floor(tmp_path: Path) -> None:
    found = loaded(tmp_path, "fairness: {tenants: {acme: 3, 'trial 1': 0.25}, batch_floor: 0%}").fairness
    assert found == FairnessSettings({"acme": 3.0, "trial 1": 0.25}, 0)


def test_mistakes_of_fairness_are_told_at_their_places(tmp_path: Path) -> None:
    text = "fairness: {tenants: {a: 0, b: 2000, ' c': 1, d: [1]}, batch_floor: 91%, users: {}}"
    assert [line.partition(", not")[0] for line in wrong(tmp_path, text)] == [
        "1:25: fairness.tenants.a: expected a weight from 0.01 to 1_000, like 3 or 0.5",
        "1:31: fairness.tenants.b: expected a weight from 0.01 to 1_000, like 3 or 0.5",
        "1:37: fairness.tenants. c: expected a text of 1 to 200 characters without spaces at its ends",
        "1:49: fairness.tenants.d: expected one value",
        "1:68: fairness.batch_floor: expected a percentage from 0% up to 90%, like 10%",
        "1:73: fairness: unknown key 'users'; known keys: tenants, batch_floor",
    ]


def test_a_tasks_own_timer_wins_over_the_providers_and_that_over_everybodys(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "timeouts: {idle: 7s, connect: 3s}\nproviders: {openai: {timeouts: {first_byte: 5m, idle: 2m}}}\n"
        "tasks: {t: {timeout: 9s, timeouts: {first_byte: 1s}}, u: {}}",
    )
    everybody = Timeouts(connect=3.0, idle=7.0)
    assert timeouts_of(found, "anthropic") == everybody
    assert timeouts_of(found, "nobody", "nothing") == everybody
    assert timeouts_of(found, "openai") == Timeouts(connect=3.0, first_byte=300.0, idle=120.0)
    assert timeouts_of(found, "openai", "u") == Timeouts(connect=3.0, first_byte=300.0, idle=120.0)
    assert timeouts_of(found, "openai", "t") == Timeouts(connect=3.0, first_byte=1.0, idle=120.0, total=9.0)
    assert timeouts_of(found, "anthropic", "t") == Timeouts(connect=3.0, first_byte=1.0, idle=7.0, total=9.0)
