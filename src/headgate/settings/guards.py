"""`guards:`, read, and worked out for each caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headgate.core.caller import Caller
from headgate.policy.guards.loops import DEFAULT_LIMITS
from headgate.policy.guards.rules import MODES, PROFILES, GuardRules, resolve
from headgate.settings.fields import Section
from headgate.settings.guard_input import input_limits_of, isolation_of, read_input_limits, read_isolate
from headgate.settings.guard_model import GUARDED_BY, CallerGuards, GuardSettings
from headgate.settings.guard_network import NETWORK_GUARDS, checks_of, read_checks
from headgate.settings.guard_output import (
    OUTPUT_KEYS,
    output_rules_of,
    read_answer_characters,
    read_canaries,
    read_links,
)
from headgate.settings.guard_tools import read_loop_limits, read_tools, tool_rules_of
from headgate.settings.tree import Scalar
from headgate.settings.units import one_of, text_up_to, whole

if TYPE_CHECKING:
    from headgate.settings.model import Settings

GUARD_KEYS = (
    *("profile", *MODES, "rules", "look_behind", "loop_limits", "isolate", "limits"),
    *(*OUTPUT_KEYS, *NETWORK_GUARDS),
)
GLOBAL_KEYS = ("for", "isolation_key")
RULE_SETS = ("standard", "classic")
_name = text_up_to(200)


def read_guards(root: Section, *, callers: bool = False) -> GuardSettings:
    """`guards:`, a mapping, or `on` or `off` for all.

    Args:
        callers: it may have `for:`, a list of what holds for some callers.
    """
    node = root.table.entries.get("guards")
    if isinstance(node, Scalar) and not node.null:
        mode = root.take("guards", one_of(("on", "off")), "")
        return GuardSettings(profile={"on": "standard", "off": "off"}.get(mode, ""))
    section = root.section("guards", (*GUARD_KEYS, *GLOBAL_KEYS) if callers else GUARD_KEYS)
    return _read(section, _for(section) if callers else (), everybody=callers)


def _read(section: Section, callers: tuple[CallerGuards, ...] = (), *, everybody: bool = False) -> GuardSettings:
    tools, tool_rules = "", None
    if isinstance(section.table.entries.get("tools"), Scalar):
        tools = section.take("tools", _mode("tools"), "")
    else:
        tool_rules = read_tools(section, everybody=everybody)
        tools = "on" if tool_rules is not None else ""
    links, link_allow = read_links(section)
    return GuardSettings(
        profile=section.take("profile", one_of(PROFILES), ""),
        tools=tools,
        tool_rules=tool_rules,
        loop_limits=read_loop_limits(section),
        checks=read_checks(section),
        rules=section.take("rules", one_of(RULE_SETS), ""),
        look_behind=section.take("look_behind", whole(16, 4096), None),
        isolate=section.take("isolate", read_isolate, ""),
        isolation_key=section.secret("isolation_key") if everybody else None,
        limits=read_input_limits(section),
        links=links,
        link_allow=link_allow,
        canaries=read_canaries(section),
        answer_characters=read_answer_characters(section),
        callers=callers,
        **{name: section.take(name, _mode(name), "") for name in MODES if name not in ("tools", "links")},
    )


def _for(section: Section) -> tuple[CallerGuards, ...]:
    found = []
    for node, path in section.items("for"):
        entry = Section(section.context, node, path, (*GUARDED_BY, *GUARD_KEYS))
        only = tuple((name, entry.take(name, _name, "")) for name in GUARDED_BY if name in entry.table.entries)
        if not only and entry.given:
            entry.context.wrong(path, f"whom it is for is not told: write one or more of {', '.join(GUARDED_BY)}")
        found.append(CallerGuards(only, _read(entry)))
    return tuple(found)


def _mode(guard: str) -> Callable[[str], str]:
    return one_of(("on", *MODES[guard]))


def guards_of(settings: Settings, env: Mapping[str, str] | None = None) -> Callable[[Caller], GuardRules]:
    """What the guards do, by caller. The most specific section that says something of a guard decides: the first
    fitting entry of `guards.for`, then the task's, then the global one.

    Args:
        env: where canaries are read from; None: they are not read.
    """
    made: dict[tuple[int, str], GuardRules] = {}

    def of(caller: Caller) -> GuardRules:
        entries = settings.guards.callers
        place = next((n for n, each in enumerate(entries) if fits(each, caller)), -1)
        task = caller.task if caller.task in settings.tasks else ""
        rules = made.get((place, task))
        if rules is None:
            levels = [settings.guards]
            if task:
                levels.insert(0, settings.tasks[task].guards)
            if place >= 0:
                levels.insert(0, entries[place].guards)
            rules = made[place, task] = rules_of(levels, env)
        return rules

    return of


def guards_on(settings: Settings) -> bool:
    """Whether any guard is on for anybody."""
    entries = (GuardSettings(), *(each.guards for each in settings.guards.callers))
    tasks = (GuardSettings(), *(task.guards for task in settings.tasks.values()))
    return any(rules_of([entry, task, settings.guards]).active for entry in entries for task in tasks)


def fits(entry: CallerGuards, caller: Caller) -> bool:
    """Whether an entry of `guards.for` is about a caller."""
    return all(getattr(caller, dimension) == value for dimension, value in entry.only)


def rules_of(levels: list[GuardSettings], env: Mapping[str, str] | None = None) -> GuardRules:
    """What was told, worked out.

    Args:
        levels: the most specific first.
        env: as in `guards_of`.

    Raises:
        ConfigError: see `settings.guard_output.output_rules_of`.
    """
    modes: dict[str, Any] = {
        name: resolve(name, [(each.profile, getattr(each, name)) for each in levels]) for name in MODES
    }
    tools = next((each.tool_rules for each in levels if each.tool_rules is not None), None)
    return GuardRules(
        profile=next((each.profile for each in levels if each.profile), "standard"),
        rule_set=next((each.rules for each in levels if each.rules), "standard"),
        look_behind=next((each.look_behind for each in levels if each.look_behind is not None), 64),
        tool_rules=None if tools is None else tool_rules_of(tools),
        loop_limits=next((each.loop_limits for each in levels if each.loop_limits is not None), DEFAULT_LIMITS),
        isolate=isolation_of(levels),
        limits=input_limits_of(levels),
        output=output_rules_of(levels, env),
        checks=checks_of([(each.profile, each.checks) for each in levels]),
        **modes,
    )
