"""`guards:`, read, and worked out for each caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.core.caller import Caller
from headgate.policy.guards.rules import MODES, PROFILES, GuardRules, resolve
from headgate.settings.fields import Section
from headgate.settings.guard_model import GUARDED_BY, CallerGuards, GuardSettings
from headgate.settings.tree import Scalar, shown
from headgate.settings.units import one_of, text_up_to, whole

if TYPE_CHECKING:
    from headgate.settings.model import Settings

GUARD_KEYS = ("profile", *MODES, "rules", "look_behind")
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
    section = root.section("guards", (*GUARD_KEYS, "for") if callers else GUARD_KEYS)
    return _read(section, _for(section) if callers else ())


def _read(section: Section, callers: tuple[CallerGuards, ...] = ()) -> GuardSettings:
    tools, allow, approve = "", (), ()  # type: str, tuple[str, ...], tuple[str, ...]
    if isinstance(section.table.entries.get("tools"), Scalar):
        tools = section.take("tools", _mode("tools"), "")
    else:
        lists = section.section("tools", ("allow", "approve"))
        tools = "on" if lists.given else ""
        allow, approve = (lists.texts(key, _name) for key in ("allow", "approve"))
        for name in sorted(set(allow) & set(approve)):
            lists.wrong("approve", f"{shown(name)} is under allow too: keep one")
    return GuardSettings(
        profile=section.take("profile", one_of(PROFILES), ""),
        tools=tools,
        allow_tools=allow,
        approve_tools=approve,
        rules=section.take("rules", one_of(RULE_SETS), ""),
        look_behind=section.take("look_behind", whole(16, 4096), None),
        callers=callers,
        **{name: section.take(name, _mode(name), "") for name in MODES if name != "tools"},
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


def guards_of(settings: Settings) -> Callable[[Caller], GuardRules]:
    """What the guards do, by caller. The most specific section that says something of a guard decides: the first
    fitting entry of `guards.for`, then the task's, then the global one."""
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
            rules = made[place, task] = rules_of(levels)
        return rules

    return of


def fits(entry: CallerGuards, caller: Caller) -> bool:
    """Whether an entry of `guards.for` is about a caller."""
    return all(getattr(caller, dimension) == value for dimension, value in entry.only)


def rules_of(levels: list[GuardSettings]) -> GuardRules:
    """Args: `levels`: what was told, the most specific first."""
    return GuardRules(
        profile=next((each.profile for each in levels if each.profile), "standard"),
        rule_set=next((each.rules for each in levels if each.rules), "standard"),
        look_behind=next((each.look_behind for each in levels if each.look_behind is not None), 64),
        **{name: resolve(name, [(each.profile, getattr(each, name)) for each in levels]) for name in MODES},
    )
