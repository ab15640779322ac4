"""Ceilings, drains, discounts, invoices and anomalies: what is written is what is meant, and mistakes have places."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import ConfigError
from headgate.settings import Settings, load, units
from headgate.settings.model import AnomalySettings, InvoiceSettings, InvoiceTerms, ProviderSettings

USD = 10**9


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env=env or {})


def test_a_task_has_the_global_ceiling_unless_it_says_another() -> None:
    overrides = {"max_usd_per_call": 2, "tasks": {"a": {}, "b": {"max_usd_per_call": 0}, "c": {"max_usd_per_call": 9}}}
    found = load(env={}, overrides=overrides)
    assert found.max_usd_per_call_nano == 2 * USD
    assert {name: task.max_usd_per_call_nano for name, task in found.tasks.items()} == {
        "a": 2 * USD,
        "b": 0,
        "c": 9 * USD,
    }
    none = load(env={}, overrides={"tasks": {"a": {}}})
    assert (none.max_usd_per_call_nano, none.tasks["a"].max_usd_per_call_nano) == (None, None)


def test_a_drain_has_its_caps_and_half_of_them_keeps_the_other_default(tmp_path: Path) -> None:
    text = "providers: {openai: {on_disconnect: drain, drain: {seconds: 5, usd: 0}}, anthropic: {on_disconnect: drain}}"
    found = loaded(tmp_path, text).providers
    assert (found["openai"].drain_seconds, found["openai"].drain_usd_nano) == (5.0, 0)
    assert (found["anthropic"].drain_seconds, found["anthropic"].drain_usd_nano) == (30.0, 10**8)
    env = {"HEADGATE_PROVIDERS__ANTHROPIC__DRAIN__SECONDS": "2m"}
    assert loaded(tmp_path, text, env).providers["anthropic"].drain_seconds == 120.0
    assert ProviderSettings("a", "openai", "").drain_seconds == 30.0


def test_a_discount_is_in_hundredths_of_a_percent(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, "providers: {openai: {discount: 12.5%}}", {"HEADGATE_PROVIDERS__ANTHROPIC__DISCOUNT": "3%"}
    )
    assert found.providers["openai"].discount_basis_points == 1_250
    assert found.providers["anthropic"].discount_basis_points == 300


def test_a_tenant_without_terms_of_its_own_has_everybodys(tmp_path: Path) -> None:
    text = "invoices: {markup: 20%, minimum_usd: 5, seller: Acme GmbH, "
    text += "tenants: {a: {markup: 0%}, b: {minimum_usd: 0}, c: }}"
    found = loaded(tmp_path, text).invoices
    assert found.seller == "Acme GmbH"
    assert found.for_tenant("a") == InvoiceTerms(0, 5 * USD)
    assert found.for_tenant("b") == InvoiceTerms(2_000, 0)
    assert found.for_tenant("c") == found.for_tenant("unknown") == InvoiceTerms(2_000, 5 * USD)
    assert InvoiceSettings().for_tenant("a") == InvoiceTerms(0, 0)


def test_a_markup_may_be_more_than_everything(tmp_path: Path) -> None:
    assert loaded(tmp_path, "invoices: {markup: 1000%}").invoices.markup_basis_points == 100_000


@pytest.mark.parametrize(
    ("word", "enabled"), [("off", False), ("false", False), ("on", True), ("~", True), ("{}", True)]
)
def test_anomalies_are_on_unless_they_are_off(tmp_path: Path, word: str, enabled: bool) -> None:
    assert loaded(tmp_path, f"anomalies: {word}").anomalies == AnomalySettings(enabled=enabled)


def test_every_kind_of_anomaly_has_its_setting(tmp_path: Path) -> None:
    text = "anomalies: {tokens_per_call: 3x, daily_spend: 1.5x, session_usd: 0.5, session_window: 1h, new_model: off}"
    assert loaded(tmp_path, text).anomalies == AnomalySettings(True, 3.0, 1.5, USD // 2, 3600.0, new_model=False)


def test_variables_and_python_reach_the_new_sections() -> None:
    env = {
        "HEADGATE_MAX_USD_PER_CALL": "0.25",
        "HEADGATE_INVOICES__MARKUP": "7%",
        "HEADGATE_ANOMALIES": "off",
        "HEADGATE_UNBOUNDED": "ceiling",
        "HEADGATE_REFUSAL_STATUS__BUDGET": "402",
    }
    found = load(env=env, overrides={"invoices.minimum_usd": 1, "invoices.tenants": {"acme": {"markup": "9%"}}})
    assert found.max_usd_per_call_nano == USD // 4
    assert found.invoices.for_tenant("acme") == InvoiceTerms(900, USD)
    assert found.invoices.for_tenant("other") == InvoiceTerms(700, USD)
    assert found.anomalies.enabled is False
    assert (found.unbounded, dict(found.refusal_status)) == ("ceiling", {"budget": 402})
    assert found.warnings == ()


def test_what_others_wired_is_no_longer_said_to_be_unenforced(tmp_path: Path) -> None:
    text = "budgets: [{usd: 1}]\nunbounded: ceiling\nrefusal_status: {budget: 402}\n"
    text += "providers: {openai: {bills_to_end: on}}\nkeys: [{name: a, key: env:K, budgets: [{usd: 1}]}]"
    assert [line for line in loaded(tmp_path, text).warnings if "enforced" in line] == []


WRONG = """\
max_usd_per_call: $5
tasks: {t: {max_usd_per_call: -1}}
providers:
  openai: {drain: {seconds: 30}, discount: 100%}
  anthropic: {on_disconnect: drain, drain: {seconds: 2h, usd: free, bytes: 1}}
  local: {dialect: openai, base_url: "http://127.0.0.1:1/v1", price: free, discount: 5%}
invoices: {markup: 20, minimum_usd: -5, seller: "", tenants: {acme: {markup: 1001%, seller: x}, " ": {}}}
anomalies: {tokens_per_call: 1x, daily_spend: double, session_usd: x, session_window: 0s, new_model: maybe, nwe: 1}
"""


def test_every_mistake_is_told_at_once_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, WRONG)
    found = [line.partition("headgate.yaml:")[2] for line in caught.value.mistakes]
    expected = [
        "1:19: max_usd_per_call: expected an amount from 0 to 1_000_000_000 in USD, with at most 9 decimals",
        "2:31: tasks.t.max_usd_per_call: expected an amount",
        "4:19: providers.openai.drain: means nothing without `on_disconnect: drain`",
        "4:44: providers.openai.discount: expected a percentage above 0% and up to 99.99%, like 12.5%, not '100%'",
        "5:54: providers.anthropic.drain.seconds: expected a duration from 100ms to 1h",
        "5:63: providers.anthropic.drain.usd: expected an amount",
        "5:69: providers.anthropic.drain: unknown key 'bytes'; known keys: seconds, usd",
        "6:86: providers.local.discount: means nothing beside `price`",
        "7:20: invoices.markup: expected a percentage from 0% up to 1000%, like 20%, not '20'",
        "7:37: invoices.minimum_usd: expected an amount",
        "7:49: invoices.seller: expected a text of 1 to 500 characters",
        "7:78: invoices.tenants.acme.markup: expected a percentage",
        "7:85: invoices.tenants.acme: unknown key 'seller'",
        "7:97: invoices.tenants. : expected a text of 1 to 200 characters",
        "8:30: anomalies.tokens_per_call: expected a ratio above 1x and up to 1000x, like 2x or 1.5x, not '1x'",
        "8:47: anomalies.daily_spend: expected a ratio",
        "8:68: anomalies.session_usd: expected an amount",
        "8:87: anomalies.session_window: expected a duration from 1s to 1d",
        "8:102: anomalies.new_model: expected true or false",
        "8:109: anomalies: unknown key 'nwe'; known keys: tokens_per_call",
    ]
    for line, start in zip(found, expected, strict=False):
        assert line.startswith(start), line
    assert len(found) == len(expected), found


@pytest.mark.parametrize(("text", "value"), [("2x", 2.0), ("1.5 x", 1.5), ("3", 3.0), ("1000x", 1000.0)])
def test_a_ratio_is_above_one(text: str, value: float) -> None:
    assert units.ratio(text) == value


@pytest.mark.parametrize("text", ["1x", "0.5x", "1001x", "2X", "x", "", "2%", "-2x", "nan", "1e2x"])
def test_what_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a ratio"):
        units.ratio(text)


@given(st.integers(0, 100_000))
def test_every_percentage_survives_its_text(points: int) -> None:
    assert units.percentage(100_000, like="1%", zero=True)(f"{points // 100}.{points % 100:02d}%") == points


@given(st.text(max_size=40))
def test_no_text_makes_a_reader_of_money_raise_anything_but_value_error(text: str) -> None:
    for read in (units.usd, units.ratio, units.percentage(9_999, like="1%")):
        try:
            read(text)
        except ValueError:
            continue
