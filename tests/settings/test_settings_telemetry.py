"""`metrics:` and `traces:`: what is read, and what is refused before anything is sent anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.model import Settings
from headgate.settings.secrets import SecretRef
from headgate.settings.telemetry import MetricsSettings, TraceSettings


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text)
    return load(path, env={})


def test_metrics_are_on_and_traces_off_unless_told_otherwise(tmp_path: Path) -> None:
    found = read(tmp_path, "zone: UTC\n")
    assert found.metrics == MetricsSettings()
    assert found.metrics.enabled
    assert found.traces == TraceSettings()
    assert found.traces.to == ""
    assert not read(tmp_path, "metrics: off\ntraces: off\n").metrics.enabled


def test_every_key_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "metrics: {token: env:T, models: 7, tasks: 8, tenants: 9, otlp: 'http://c:4318/', every: 5s, "
        "headers: {X-Team: search}}\n"
        "traces: {to: 'https://c/otel', headers: {Authorization: env:A}, sample: 2.5%, errors: off, names: 1.36, "
        "usage: never, content: on, openinference: on, service: shop, resource: {wandb.entity: us}}\n",
    )
    metrics, traces = found.metrics, found.traces
    assert (metrics.models, metrics.tasks, metrics.tenants, metrics.every_seconds) == (7, 8, 9, 5.0)
    assert metrics.otlp == "http://c:4318"
    assert dict(metrics.headers) == {"x-team": "search"}
    assert isinstance(metrics.token, SecretRef)
    assert (traces.to, traces.sample_basis_points, traces.errors, traces.names) == (
        "https://c/otel",
        250,
        False,
        "1.36",
    )
    assert (traces.usage, traces.content, traces.openinference, traces.service) == ("never", True, True, "shop")
    assert isinstance(traces.headers["authorization"], SecretRef)
    assert dict(traces.resource) == {"wandb.entity": "us"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("traces: on\n", "a mapping with `to`"),
        ("traces: {sample: 10%}\n", "is missing: the URL of a collector"),
        ("traces: {to: ftp://c}\n", "a URL that starts with http://"),
        ("traces: {to: 'http://me:pw@c'}\n", "without a credential"),
        ("traces: {to: 'http://c', headers: {Host: x}}\n", "is no header that can be set here"),
        ("traces: {to: 'http://c', sample: 101%}\n", "a percentage"),
        ("traces: {to: 'http://c', content: on}\nlog: {bodies: off}\n", "log.bodies is off"),
        ("metrics: {tenants: -1}\n", "a whole number from 0"),
        ("metrics: {nonsense: 1}\n", "unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_a_credential(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert said in str(raised.value)
    assert "headgate.yaml:1:" in str(raised.value)
    assert "pw" not in str(raised.value)


def test_where_traces_go_is_not_printed_with_the_settings(tmp_path: Path) -> None:
    found = read(tmp_path, "traces: {to: 'http://c/secret-path', headers: {a: plain}}\n")
    assert "secret-path" not in repr(found)
    assert "plain" not in repr(found)
