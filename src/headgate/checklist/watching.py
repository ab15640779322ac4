"""Alerts on errors and latency, stop reasons, the eval set."""

from __future__ import annotations

import json
from pathlib import Path

from headgate.checklist.facts import Facts
from headgate.checklist.items import FAIL, NOT_APPLICABLE, PASS, WARN, Result
from headgate.policy.alert_rules import value_text

TRUNCATED_SHARE = 0.05
EVAL_FOLDERS = ("evals", "eval")
MAX_FILES, MAX_BYTES = 100, 4 * 1024 * 1024

ONLY_CRITICAL = "nobody is told: these are warnings, and each place under `alerts` is told of critical alerts only"
_AN_ALERT = "alerts:\n  - {to: env:ALERT_WEBHOOK_URL}"


def _alert(facts: Facts, names: tuple[str, ...], seen: str) -> Result:
    """Whether rules are on, and somebody is told of them."""
    rules = [facts.settings.alert_rules[name] for name in names]
    off = [rule.name for rule in rules if not rule.on]
    if off:
        named = ", ".join(f"{name}{facts.at(f'alert_rules.{name}')}" for name in off)
        return Result(
            FAIL, f"These rules are off: {named}.{seen}", "alert_rules:\n  " + "\n  ".join(f"{n}: on" for n in off)
        )
    told = ", ".join(
        f"{rule.name} over {value_text(rule.unit, rule.over)}{facts.at(f'alert_rules.{rule.name}')}" for rule in rules
    )
    if not facts.settings.alerts:
        return Result(WARN, f"{told}; nobody is told: `alerts` is empty.{seen}", _AN_ALERT)
    to = ", ".join(facts.told_of(names))
    if not to:
        return Result(WARN, f"{told}; {ONLY_CRITICAL}{facts.at('alerts')}.{seen}", _AN_ALERT)
    return Result(PASS, f"{told}; told: {to}{facts.at('alerts')}.{seen}")


def error_alert(facts: Facts) -> Result:
    """The rule on exchanges that fail, and how many did."""
    week = facts.week
    seen = (
        "" if week is None else f" Failed in the last 7 days: {week.failed / week.exchanges:.2%} of {week.exchanges:,}."
    )
    return _alert(facts, ("exchange_errors",), seen)


def latency_alerts(facts: Facts) -> Result:
    """The rules on p95 and p99, and what they were."""
    p95, p99 = facts.quantile(0.95), facts.quantile(0.99)
    seen = "" if p95 is None or p99 is None else f" In the last 7 days: p95 {p95:.3g} s, p99 {p99:.3g} s."
    return _alert(facts, ("latency_p95", "latency_p99"), seen)


def stop_reasons(facts: Facts) -> Result:
    """Why answers ended."""
    rows = facts.by("stop_reason")
    total = sum(row.exchanges for row in rows.values())
    if not total:
        what = "They are recorded with every call. Nothing was logged in the last 7 days: make one, and look again."
        return Result(NOT_APPLICABLE, what)
    known = {value: row.exchanges for value, row in rows.items() if value}
    cut = sum(row.truncated for row in rows.values()) / total
    most = sorted(known.items(), key=lambda each: -each[1])[:4]
    listed = ", ".join(f"{value} {count / total:.0%}" for value, count in most) or "none"
    what = f"Of {total:,} calls of the last 7 days: {listed}; cut off by their output cap: {cut:.1%}."
    if cut > TRUNCATED_SHARE:
        return Result(WARN, what, "tasks:\n  <task>: {max_tokens: ...}   # `headgate audit` has the figures")
    return Result(PASS, what)


def eval_set(facts: Facts) -> Result:
    """JSON lines in `evals/` beside the configuration, with a label or an expectation."""
    base = Path(facts.settings.source).parent if facts.settings.source else Path()
    files = sorted(f for name in EVAL_FOLDERS for f in (base / name).glob("*.jsonl"))[:MAX_FILES]
    told = [(file, *_labelled(file)) for file in files]
    best = max(told, key=lambda each: each[2], default=None)
    remedy = (
        "headgate logs export --dataset --sample 50 > evals/set.jsonl   # label them; headgate logs replay --expect"
    )
    if best is None:
        return Result(WARN, "There is no evals/*.jsonl beside the configuration.", remedy)
    file, rows, labelled = best
    what = f"{file}: {labelled} of {rows} rows have a label or an expectation."
    return Result(PASS if labelled else WARN, what, "" if labelled else remedy)


def _labelled(file: Path) -> tuple[int, int]:
    """(Rows, those that say what is expected)."""
    rows = labelled = 0
    try:
        with file.open("rb") as lines:
            for line in lines.read(MAX_BYTES).splitlines():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    rows += 1
                    labelled += row.get("label") is not None or row.get("expect") is not None
    except OSError:
        pass
    return rows, labelled
