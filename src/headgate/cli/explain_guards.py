"""How the guards of a call are set, with the line that says so: the modes that hold, not only those written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from headgate.policy.guards.rules import BLOCK, FLAG, MODES, OFF
from headgate.settings.fields import DEFAULT
from headgate.settings.guards import fits, guards_of

if TYPE_CHECKING:
    from headgate.cli.explain_record import Explanation
    from headgate.core.caller import Caller
    from headgate.settings.guard_model import GuardSettings, ToolRuleSettings
    from headgate.settings.model import Settings

_Levels = Sequence[tuple[str, "GuardSettings"]]


def guards(said: Explanation, settings: Settings, caller: Caller) -> None:
    """Add them."""
    rules = guards_of(settings)(caller)
    levels = list(_levels(settings, caller))
    said.add("guards", "profile", rules.profile, _profile(settings.origins, levels))
    for name in MODES:
        mode: str = getattr(rules, name)
        if name == "tools" and mode != OFF:
            mode += _tools(levels)
        if mode != OFF or rules.active:
            said.add("guards", name, mode, _source(settings.origins, levels, name))
    if rules.isolate != OFF:
        told = [prefix for prefix, each in levels if each.isolate]
        said.add("guards", "isolate", rules.isolate, _at(settings.origins, told[0], "isolate") if told else DEFAULT)
    for check in rules.checks:
        mode = BLOCK if check.blocks else FLAG
        said.add("guards", check.guard, mode, _asking(settings.origins, levels, check.guard))


def _levels(settings: Settings, caller: Caller) -> Iterator[tuple[str, GuardSettings]]:
    """(path, section) of those that may say something, the most specific first: as `settings.guards.guards_of`."""
    for place, entry in enumerate(settings.guards.callers):
        if fits(entry, caller):
            yield f"guards.for[{place}]", entry.guards
            break
    if caller.task in settings.tasks:
        yield f"tasks.{caller.task}.guards", settings.tasks[caller.task].guards
    yield "guards", settings.guards


def _source(origins: Mapping[str, str], levels: _Levels, guard: str) -> str:
    """The line that decides about a guard: a mode of its own, or a profile, whichever is the more specific."""
    for prefix, each in levels:
        if getattr(each, guard):
            return _at(origins, prefix, guard)
        if each.profile:
            return _at(origins, prefix, "profile")
    return DEFAULT


def _asking(origins: Mapping[str, str], levels: _Levels, guard: str) -> str:
    """The first line about a guard that asks somebody, which has a mapping of its own."""
    for prefix, _ in levels:
        path = f"{prefix}.{guard}"
        if origins.get(path, DEFAULT) != DEFAULT:
            return origins[path]
    return DEFAULT


def _profile(origins: Mapping[str, str], levels: _Levels) -> str:
    return next((_at(origins, prefix, "profile") for prefix, each in levels if each.profile), DEFAULT)


def _at(origins: Mapping[str, str], prefix: str, name: str) -> str:
    """`guards: off` is told of all at once."""
    line = origins.get(f"{prefix}.{name}", DEFAULT)
    return line if line != DEFAULT else origins.get(prefix, DEFAULT)


def _tools(levels: _Levels) -> str:
    told = next((each.tool_rules for _, each in levels if each.tool_rules is not None), None)
    if told is None:
        return ""
    of = {then: [_tool(rule) for rule in told.rules if rule.then == then] for then in ("block", "approve", "allow")}
    words = "; ".join(f"{then} {', '.join(tools)}" for then, tools in of.items() if tools)
    return f" ({words})" if words else ""


def _tool(rule: ToolRuleSettings) -> str:
    """A rule's tool, and the arguments that it is about."""
    return rule.tool + (f" (by {', '.join('.'.join(each.path) for each in rule.when)})" if rule.when else "")
