"""`alerts:` and `alert_rules:`: places, rules, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.errors import ConfigError
from headgate.policy.alert_rules import RULES
from headgate.settings import load
from headgate.settings.model import Settings

HOOK = "https://hooks.acme.example/services/T0/canary-path"
SMTP = {"host": "mail.acme.example", "from": "headgate@acme.example"}


def loaded(**overrides: Any) -> Settings:
    return load(env={}, overrides=overrides)


def mistakes(**overrides: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        loaded(**overrides)
    return str(raised.value)


def test_the_old_form_is_a_webhook_whose_url_is_never_printed() -> None:
    (place,) = loaded(alerts=[{"to": HOOK}]).alerts
    assert (place.kind, place.name, place.severity) == ("webhook", "webhook hooks.acme.example", "warning")
    assert "canary" not in repr(place) + place.key + place.name


def test_each_kind_of_place_has_a_name_and_a_key_that_stays_the_same() -> None:
    told = [
        {"to": HOOK, "format": "slack", "severity": "critical"},
        {"to": "env:HOOK", "secret": "env:SECRET"},
        {"to": "mailto:ops@acme.example", "smtp": {**SMTP, "username": "u", "password": "env:PASSWORD"}},
        {"to": "log"},
    ]
    places = loaded(alerts=told).alerts
    names = ["slack hooks.acme.example", "webhook env:HOOK", "email ops@acme.example", "log"]
    assert [each.name for each in places] == names
    assert [each.key for each in places] == [each.key for each in loaded(alerts=told).alerts]
    smtp = places[2].smtp
    assert smtp is not None
    assert (smtp.port, smtp.tls) == (587, "starttls")
    (other,) = loaded(alerts=[{"to": "mailto:a@b.example", "smtp": {**SMTP, "tls": "tls"}}]).alerts
    assert other.smtp is not None
    assert other.smtp.port == 465


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "is missing"),
        ({"to": "ftp://acme.example"}, "alerts[0].to"),
        ({"to": "mailto:nobody"}, "one address"),
        ({"to": "mailto:a@b.example?cc=c@d.example", "smtp": SMTP}, "one address"),
        ({"to": "mailto:a@b.example"}, "mail needs"),
        ({"to": "mailto:a@b.example", "smtp": {"host": "x y", "from": "a@b.example"}}, "mail server"),
        ({"to": "mailto:a@b.example", "smtp": {**SMTP, "username": "u"}}, "belong together"),
        (
            {"to": "mailto:a@b.example", "smtp": {**SMTP, "username": "u", "password": "env:P", "tls": "off"}},
            "without encryption",
        ),
        ({"to": HOOK, "smtp": SMTP}, "for mailto: only"),
        ({"to": "log", "format": "slack"}, "for webhooks only"),
        ({"to": HOOK, "format": "slack", "secret": "env:S"}, "checks no signature"),
        ({"to": HOOK, "severity": "loud"}, "alerts[0].severity"),
        ({"to": HOOK, "colour": "red"}, "unknown key"),
    ],
)
def test_what_cannot_be_told_is_said_with_its_place(place: dict[str, Any], said: str) -> None:
    found = mistakes(alerts=[place])
    assert said in found
    assert "canary" not in found


def test_one_place_is_told_once() -> None:
    assert "is told already" in mistakes(alerts=[{"to": HOOK}, {"to": HOOK, "severity": "critical"}])


def test_rules_are_the_defaults_but_for_what_is_said() -> None:
    rules = loaded(
        alert_rules={
            "truncated": "off",
            "exchange_errors": {"over": "2%", "window": "10m", "minimum": 20, "for": "5m", "severity": "warning"},
            "latency_p95": {"over": "8s"},
            "tokens_per_call": {"over": "3x"},
            "model_retires": {"over": "60d"},
            "queue_growing": {"over": 500},
        }
    ).alert_rules
    changed = rules["exchange_errors"]
    assert (changed.over, changed.window, changed.minimum, changed.lasts) == (0.02, 600, 20, 300)
    assert (changed.severity, rules["truncated"].on, rules["latency_p99"]) == ("warning", False, RULES["latency_p99"])
    found = [rules[name].over for name in ("latency_p95", "tokens_per_call", "model_retires", "queue_growing")]
    assert found == [8.0, 3.0, 60.0, 500.0]
    assert set(rules) == set(RULES)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"exchange_error": "off"}, "did you mean 'exchange_errors'"),
        ({"exchange_errors": "loud"}, "or a mapping with over"),
        ({"exchange_errors": {"over": "much"}}, "alert_rules.exchange_errors.over"),
        ({"budget_near": {"over": "70%"}}, "unknown key 'over'"),
        ({"breaker_open": {"window": "5m"}}, "unknown key 'window'"),
        ({"latency_p95": {"window": "2h"}}, "alert_rules.latency_p95.window"),
        ({"ttft_p95": {"over": "61s"}}, "a duration from 1ms to 1m"),
        ({"latency_p99": {"over": "11m"}}, "a duration from 1ms to 10m"),
    ],
)
def test_a_rule_that_cannot_be_is_said_with_its_place(rules: dict[str, Any], said: str) -> None:
    assert said in mistakes(alert_rules=rules)


def test_the_dashboards_address_has_no_slash_at_its_end_and_no_credential() -> None:
    assert loaded(server={"public_url": "https://llm.acme.example/gate/"}).server.public_url == (
        "https://llm.acme.example/gate"
    )
    assert "server.public_url" in mistakes(server={"public_url": "https://u:p@llm.acme.example"})


def test_doctor_reads_every_reference_of_a_place() -> None:
    from headgate.cli.doctor_secrets import check_references

    smtp = {**SMTP, "username": "u", "password": "env:ALERT_PASSWORD"}
    told = [{"to": "env:ALERT_HOOK", "secret": "env:ALERT_SECRET"}, {"to": "mailto:a@b.example", "smtp": smtp}]
    said = " ".join(str(each) for each in check_references(loaded(alerts=told), {}, offline=True))
    assert all(name in said for name in ("ALERT_HOOK", "ALERT_SECRET", "ALERT_PASSWORD"))
