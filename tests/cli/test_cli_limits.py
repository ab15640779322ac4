"""What `headgate explain` and `headgate doctor` say about callers' limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

from headgate.cli.doctor_limits import check_limits
from headgate.cli.doctor_report import NOTE, WARNING, Finding
from headgate.settings import load

KEYS = {"APP": "k" * 20, "ANTHROPIC_API_KEY": "not-a-key"}
CONFIG = """\
keys:
  - {name: app, key: env:APP, tenant: acme, limits: [{requests_per_minute: 7}]}
limits:
  - {per: [tenant, user], requests_per_minute: 60, tokens_per_minute: 100_000}
  - {per: address, requests_per_minute: 300}
  - {only: {tenant: other}, requests_per_minute: 1}
  - {requests_per_minute: 1000}
"""


def findings(tmp_path: Path, text: str) -> list[Finding]:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return list(check_limits(load(path, env={})))


def test_explain_shows_the_limits_of_a_call_each_with_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    ask = ("explain", "--model", "claude-haiku-4-5", "--key", "app", "--json")
    said: dict[str, Any] = json.loads(run(*ask, "--user", "ada", **KEYS).stdout)
    shown = [(d["name"], d["value"], d["from"]) for d in said["decisions"] if d["step"] == "limits"]
    assert shown == [
        ("per tenant and user", "60 requests and 100,000 tokens a minute", "headgate.yaml:4:5"),
        ("per address", "300 requests a minute", "headgate.yaml:5:5"),
        ("all together", "1,000 requests a minute", "headgate.yaml:7:5"),
        ("all together, key app", "7 requests a minute", "headgate.yaml:2:54"),
    ]
    assert not [line for line in said["not_enforced"] if "limits" in line]
    nobody = json.loads(run(*ask, **KEYS).stdout)["decisions"]
    (first, *_) = [d["value"] for d in nobody if d["step"] == "limits"]
    assert first.endswith("(does not apply: the call names no user)")


@pytest.mark.parametrize("dimension", ["tenant", "environment"])
def test_a_limit_by_what_no_key_has_is_a_warning_with_its_line(tmp_path: Path, dimension: str) -> None:
    text = f"keys: [{{name: a, key: env:A}}]\nlimits:\n  - {{per: {dimension}, requests_per_minute: 5}}\n"
    (found,) = findings(tmp_path, text)
    assert found.level == WARNING
    assert f"per {dimension} ({tmp_path}/headgate.yaml:3:5) applies to no call" in found.what
    assert findings(tmp_path, text.replace("key: env:A", f"key: env:A, {dimension}: x")) == []
    assert findings(tmp_path, text.partition("\n")[2]) == []  # without keys, applications say it


def test_a_key_that_may_speak_for_tenants_gives_calls_a_tenant(tmp_path: Path) -> None:
    text = "keys: [{name: a, key: env:A, may_speak_for_tenants: true}]\nlimits: [{per: tenant, requests_per_minute: 5}]"
    assert findings(tmp_path, text) == []


def test_a_limit_per_address_on_loopback_without_a_trusted_proxy_is_a_warning(tmp_path: Path) -> None:
    text = "limits: [{per: address, requests_per_minute: 5}]\n"
    (found,) = findings(tmp_path, text)
    assert (found.level, found.remedy) == (WARNING, "behind a proxy, name it in server.trusted_proxies")
    assert findings(tmp_path, f"{text}server: {{trusted_proxies: [127.0.0.1]}}\n") == []
    assert findings(tmp_path, f"{text}server: {{host: 0.0.0.0}}\n") == []


def test_a_limit_in_tokens_that_one_answer_may_exceed_is_a_warning(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "limits: [{tokens_per_minute: 1000}]")
    assert found.level == WARNING
    assert "it never fits" in found.what
    assert findings(tmp_path, "limits: [{tokens_per_minute: 2000}]") == []


def test_users_of_several_tenants_under_one_name_are_a_note(tmp_path: Path) -> None:
    keys = "keys: [{name: a, key: env:A, tenant: x}, {name: b, key: env:B, tenant: y}]\n"
    (found,) = findings(tmp_path, keys + "limits: [{per: user, requests_per_minute: 5}]")
    assert (found.level, found.remedy) == (NOTE, "`per: [tenant, user]` keeps them apart")
    assert findings(tmp_path, keys + "limits: [{per: [tenant, user], requests_per_minute: 5}]") == []
    assert findings(tmp_path, keys + "limits: [{per: user, only: {tenant: x}, requests_per_minute: 5}]") == []


def test_doctor_tells_it_beside_the_rest_of_the_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("limits: [{tokens_per_minute: 5}]\n")
    result = run("doctor", "--offline", "--json")
    told = [f["what"] for f in json.loads(result.stdout)["findings"] if f["check"] == "config"]
    assert any("allows 5 tokens a minute" in what for what in told)
    assert result.returncode == 1
