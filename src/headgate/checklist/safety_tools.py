"""Tool calls: rules for them, and people who decide."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.checklist.facts import Facts
from headgate.checklist.items import FAIL, NOT_APPLICABLE, PASS, WARN, Result
from headgate.policy.guards.rules import OFF
from headgate.policy.guards.tools import APPROVE
from headgate.settings.guard_model import GuardSettings, ToolSettings

_CALLED = frozenset({"tool_use", "tool_calls", "function_call"})
"""Stop reasons of answers that call tools."""

_RULES = "guards:\n  tools:\n    allow: [search_docs]\n    approve: [send_email]\n    block: ['*']"


def _settings(facts: Facts) -> Iterable[tuple[str, GuardSettings]]:
    settings = facts.settings
    yield "guards", settings.guards
    yield from ((f"tasks.{name}.guards", task.guards) for name, task in settings.tasks.items())
    yield from ((f"guards.for[{n}]", each.guards) for n, each in enumerate(settings.guards.callers))


def _rules(facts: Facts) -> list[tuple[str, ToolSettings]]:
    return [(path, each.tool_rules) for path, each in _settings(facts) if each.tool_rules is not None]


def _calls(facts: Facts) -> int:
    """Answers of the last week that called a tool."""
    return sum(row.exchanges for value, row in facts.by("stop_reason").items() if value in _CALLED)


def tools(facts: Facts) -> Result:
    """Whether rules say which tools may be called, and with which arguments."""
    rules, calls = _rules(facts), _calls(facts)
    seen = f" {calls:,} answers of the last 7 days called tools." if calls else ""
    if facts.rules.tools == OFF:
        state = FAIL if calls else WARN
        return Result(state, f"guards.tools is off{facts.at('guards.tools')}: any tool may be called.{seen}", _RULES)
    if rules:
        path, first = rules[0]
        checked = sum(bool(rule.when or rule.schema) for _, each in rules for rule in each.rules)
        told = f"{sum(len(each.rules) for _, each in rules)} rules, {checked} of them about arguments"
        named = f"{told}, the first in {path}.tools{facts.at(f'{path}.tools')}.{seen}"
        return Result(PASS if first.rules else WARN, named, "" if first.rules else _RULES)
    if facts.rules.strict:
        return Result(PASS, f"No tool may be called: profile strict, and no rule allows one.{seen}")
    if calls:
        return Result(FAIL, f"There are no rules for tools, so any may be called.{seen}", _RULES)
    return Result(NOT_APPLICABLE, "No answer of the last 7 days called a tool, and there are no rules for tools.")


def approvals(facts: Facts) -> Result:
    """Whether a rule has somebody asked, and whether somebody is told that they are."""
    rules, calls = _rules(facts), _calls(facts)
    asking = [
        (path, rule.tool, each) for path, each in rules for rule in each.rules if APPROVE in (rule.then, rule.tainted)
    ]
    if asking:
        path, _, where = asking[0]
        names = ", ".join(sorted({tool for _, tool, _ in asking})[:5])
        told = facts.settings.guards.tool_rules
        webhook = told is not None and told.webhook is not None
        how = "a webhook is told" if webhook else "nobody is told: they wait in `headgate approvals list`"
        what = f"These tools wait for a person: {names}{facts.at(f'{path}.tools')}; for {where.expires:g} s; {how}."
        remedy = "guards:\n  tools: {webhook: {url: https://..., secret: env:NAME}}"
        return Result(PASS if webhook else WARN, what, "" if webhook else remedy)
    if not calls and not rules:
        return Result(NOT_APPLICABLE, "No answer of the last 7 days called a tool, and there are no rules for tools.")
    seen = f", and {calls:,} answers of the last 7 days called tools" if calls else ""
    return Result(WARN, f"No tool call waits for a person{seen}.", "guards:\n  tools: {approve: [send_email]}")
