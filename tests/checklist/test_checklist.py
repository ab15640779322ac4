"""The pre-launch checklist: drills, figures, and what each configuration deserves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headgate import checklist
from headgate.checklist import Item, running
from headgate.checklist.items import Result
from headgate.cli import main
from headgate.cli.group import cli
from headgate.core.errors import Unavailable
from headgate.settings import load
from headgate.settings.loader import TOP_KEYS
from headgate.stores.logs.query import LogPage, LogRow, RollupRow

ENV = {"ANTHROPIC_API_KEY": "fake-a", "OPENAI_API_KEY": "fake-o"}
NOW = 1_795_132_800.0

GOOD = """
models:
  fast: [anthropic/claude-haiku-4-5, openai/gpt-6-luna]
tasks:
  classify: {model: fast, max_tokens: 50, cache: 1h}
budgets:
  - {usd: 50, every: day}
  - {per: user, usd: 5, every: day}
limits:
  - {per: user, requests_per_minute: 60}
guards:
  isolate: xml
  tools:
    allow: [search_docs]
    approve: [send_email]
    webhook: {url: "https://approve.example/hook", secret: env:SIGNS}
alerts:
  - {to: https://alerts.example/hook}
"""


class _Log:
    """A log of made-up rows, as far as the checklist asks one."""

    def __init__(self, *rows: LogRow, **sums: Any) -> None:
        self.rows = rows
        self.sums = sums

    def search(self, query: Any) -> LogPage:
        word = query.fields.get("guard")
        fitting = [
            r for r in self.rows if word is None or word in r.guards or word in {g.partition(":")[0] for g in r.guards}
        ]
        return LogPage(tuple(fitting))

    def rollup(self, since: float, until: float, step: str = "hour", by: str | None = None, tenant: Any = None) -> Any:
        if not self.sums:
            return []
        if by == "stop_reason":
            return [RollupRow(since, reason, **self.sums) for reason in self.sums.get("reasons", ("end_turn",))]
        return [RollupRow(since, **self.sums)]


def looked(tmp_path: Path, text: str = "", *, log: Any = None, env: dict[str, str] | None = None) -> dict[str, Item]:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    settings = load(file, env={})
    items = checklist.run(settings, None, None, log, env=ENV if env is None else env, now=NOW)
    return {item.id: item for item in items}


def test_a_good_configuration_fails_nothing_and_names_the_lines_it_is_judged_by(tmp_path: Path) -> None:
    items = looked(tmp_path, GOOD)
    assert [i.id for i in items.values() if i.state == "fail"] == []
    assert {i.id for i in items.values() if i.state == "warn"} == {"eval-set"}
    assert f"{tmp_path}/headgate.yaml:7:5" in items["budget-stop"].evidence
    assert "anthropic to openai" in items["fallback"].evidence


def test_without_a_configuration_nothing_stops_spending(tmp_path: Path) -> None:
    items = looked(tmp_path, env={})
    failed = {i.id for i in items.values() if i.state == "fail"}
    assert failed == {"health", "budget-alerts", "budget-stop", "user-limits"}


def test_whatever_is_not_fine_says_what_to_do(tmp_path: Path) -> None:
    for text in ("", "guards: off", "log: {bodies: full, store: off}\ncache: off\nprompt_caching: off"):
        for item in looked(tmp_path, text).values():
            assert item.evidence
            assert bool(item.remedy) or item.state in ("pass", "not applicable"), item


@pytest.mark.parametrize(
    ("text", "name", "state"),
    [
        ("guards: off", "injection", "fail"),
        ("guards: {injection: flag}", "injection", "warn"),
        ("tasks: {free: {guards: off}}", "injection", "warn"),
        ("retry: {attempts: 1}", "retries", "warn"),
        ("timeouts: {first_byte: 10m}", "timeouts", "warn"),
        ("models: {one: [anthropic/claude-haiku-4-5]}", "fallback", "fail"),
        ("budgets: [{per: user, usd: 1}]", "budget-stop", "warn"),
        ("budgets: [{usd: 9, alert_at: [95%]}]", "budget-alerts", "warn"),
        ("budgets: [{soft_usd: 9}]", "budget-stop", "fail"),
        ("log: {bodies: full}", "logs", "warn"),
        ("alert_rules: {exchange_errors: off}", "error-alert", "fail"),
        ("alert_rules: {latency_p99: off}", "latency-alerts", "fail"),
        ("cache: off", "cache", "warn"),
        ("caps: defaults", "caps", "pass"),
    ],
)
def test_a_line_of_the_configuration_decides_an_item(tmp_path: Path, text: str, name: str, state: str) -> None:
    assert looked(tmp_path, text)[name].state == state


def test_a_place_that_is_told_of_critical_alerts_only_is_not_told_of_warnings(tmp_path: Path) -> None:
    critical = GOOD.replace("alerts.example/hook}", "alerts.example/hook, severity: critical}")
    for text, state in (
        (critical, "warn"),
        (critical + "  - {to: mailto:ops@acme.example, smtp: {host: h, from: a@b.example}}\n", "pass"),
    ):
        items = looked(tmp_path, text)
        for name in ("budget-alerts", "latency-alerts"):
            assert items[name].state == state, items[name].evidence
            assert "alerts.example" not in items[name].evidence
        assert items["error-alert"].state == "pass"
    raised = looked(tmp_path, critical + "alert_rules: {budget_near: {severity: critical}}")
    assert raised["budget-alerts"].state == "pass"


def test_a_secret_that_was_seen_in_a_system_prompt_fails_and_names_the_last_call(tmp_path: Path) -> None:
    guards = ("secrets:anthropic_key", "secrets:system_prompt")
    row = LogRow("1", NOW, "ex_leaky", task="mail", more={"guards": guards})
    found = looked(tmp_path, GOOD, log=_Log(row))["prompt-secrets"]
    assert found.state == "fail"
    assert "mail" in found.evidence
    assert "ex_leaky" in found.evidence


def test_tool_calls_without_a_rule_fail_and_without_any_are_not_applicable(tmp_path: Path) -> None:
    log = _Log(exchanges=10)
    log.rollup = lambda *a, **k: [RollupRow(NOW, "tool_use", exchanges=10)]  # type: ignore[method-assign]
    assert looked(tmp_path, "", log=log)["tools"].state == "fail"
    assert looked(tmp_path, "")["tools"].state == "not applicable"


def test_the_share_of_cut_answers_is_told_with_its_figure(tmp_path: Path) -> None:
    items = looked(tmp_path, GOOD, log=_Log(exchanges=100, truncated=20))
    assert items["caps"].state == "warn"
    assert "20.0%" in items["caps"].evidence
    assert items["stop-reasons"].state == "warn"


def test_a_key_in_a_comment_fails_and_is_not_repeated(tmp_path: Path) -> None:
    key = "sk-" + "ant-api03-" + "q7Zr4Lx9" * 5
    found = looked(tmp_path, f"# {key}\n{GOOD}")["keys"]
    assert found.state == "fail"
    assert ":1:3" in found.evidence
    assert key not in found.evidence


def test_a_conversation_with_long_prompts_and_no_bound_is_warned_of(tmp_path: Path) -> None:
    rows = [LogRow(str(n), NOW, f"ex_{n}", session="s", task="chat", input_tokens=30_000) for n in range(3)]
    assert looked(tmp_path, GOOD, log=_Log(*rows))["history"].state == "warn"


def test_an_eval_set_with_labels_passes(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "a.jsonl").write_text('{"id": "1", "label": "yes"}\n{"id": "2", "label": null}\nno json\n')
    found = looked(tmp_path)["eval-set"]
    assert found.state == "pass"
    assert "1 of 2 rows" in found.evidence


def test_an_item_that_cannot_be_looked_at_is_a_warning_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_facts: Any) -> Result:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(
        running, "ITEMS", {"Money": (("usage", "Usage", broken), ("caps", "Caps", lambda f: Result("pass", "x")))}
    )
    items = looked(tmp_path)
    assert [i.state for i in items.values()] == ["warn", "pass"]
    assert "the disk is gone" in items["usage"].evidence


def test_the_yaml_of_every_remedy_can_be_written_as_it_stands(tmp_path: Path) -> None:
    poor = (
        "",
        "guards: off\ncache: off\nprompt_caching: off\nretry: {attempts: 1}\nlog: {bodies: full, store: off}",
        "alert_rules: {exchange_errors: off, latency_p95: off, breaker_open: off}\nbudgets: [{soft_usd: 9}]",
        "guards: {isolate: off, tools: {approve: [send]}}\ntimeouts: {first_byte: 10m}\nstorage: memory",
    )
    remedies = {item.remedy for text in poor for item in looked(tmp_path, text, env={}).values()}
    written = [each for each in remedies if each.partition(":")[0] in TOP_KEYS]
    assert len(written) > 10
    for each in written:
        known = "" if "models" in each else "models: {fast: [anthropic/claude-haiku-4-5]}\n"
        (tmp_path / "headgate.yaml").write_text(known + each)
        load(tmp_path / "headgate.yaml", env={})


def test_a_secret_in_a_tracked_file_of_prompts_fails_with_its_place(tmp_path: Path) -> None:
    key = "sk-" + "ant-api03-" + "q7Zr4Lx9Km2Wv8Tn" * 3
    (tmp_path / "system_prompt.txt").write_text(f"Be kind.\nUse {key}.\n")
    for command in (["init", "-q"], ["add", "system_prompt.txt"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    found = looked(tmp_path, GOOD)["prompt-secrets"]
    assert found.state == "fail"
    assert "system_prompt.txt:2:5" in found.evidence
    assert key not in found.evidence


def test_the_command_ends_with_1_where_something_fails_and_with_strict_for_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    assert main.run(cli, ["check"]) == 1
    assert "FAIL  budget-stop" in capsys.readouterr().out
    (tmp_path / "headgate.yaml").write_text(GOOD)
    assert main.run(cli, ["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert len(told["items"]) == sum(told["counts"].values()) == 24
    assert main.run(cli, ["check", "--strict"]) == 1
    assert not list(tmp_path.glob("headgate.db"))
