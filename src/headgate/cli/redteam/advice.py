"""Which line of the configuration would have stopped what got through. Every one is tried before it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headgate.cli.redteam.attack import AGAIN, GOALS, LINK, TELL, THROUGH, TOOL, Attack, Outcome, Way
from headgate.cli.redteam.subjects import Subject, all_by, changed

if TYPE_CHECKING:
    from headgate.settings.guard_model import GuardSettings
    from headgate.settings.model import Settings

    Change = Callable[[GuardSettings], GuardSettings]
    Try = Callable[[Settings, Sequence[tuple[Attack, Way]]], Sequence[Outcome]]


MOST = 60
"""Attacks of a goal that are made again for a line."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A line, and what it would have stopped.

    Attributes:
        goal: of the attacks that it is about.
        line: what to write: "guards.links: redact".
        where: file, line and column of what it changes or stands beside; "" = there is no such section yet.
        stops, of: how many of the attacks that got through were made again, and how many of these it stopped.
    """

    goal: str
    line: str
    where: str
    stops: int
    of: int


def advise(settings: Settings, subject: Subject, outcomes: Sequence[Outcome], tried: Try) -> list[Advice]:
    """For each goal that was reached the first line that stops all of it, or else the best one.

    Args:
        tried: plays attacks against a configuration.
    """
    found: list[Advice] = []
    for goal in GOALS:
        through = [each for each in outcomes if each.ended == THROUGH and each.attack.goal == goal]
        best: Advice | None = None
        if not through:
            continue
        again = _some(through)
        for key, value, change in _candidates(goal, subject, through):
            after = tried(changed(settings, subject, change), again)
            stops = sum(each.ended != THROUGH for each in after)
            if stops and (best is None or stops > best.stops):
                best = Advice(goal, f"{subject.path}.{key}: {value}", _where(settings, subject, key), stops, len(again))
            if stops == len(again):
                break
        found.append(best or Advice(goal, "", "", 0, len(again)))
    return found


def _some(through: Sequence[Outcome]) -> list[tuple[Attack, Way]]:
    """At most :data:`MOST` of them, evenly spread over families and ways."""
    step = max(1, -(-len(through) // MOST)) | 1  # odd, so that it meets all four ways
    return [(each.attack, each.way) for each in through[::step]]


def _candidates(goal: str, subject: Subject, through: Sequence[Outcome]) -> Iterator[tuple[str, str, Change]]:
    """(key, value, the change) from the mildest to the strongest."""
    if goal == TOOL:
        names = sorted({outcome.attack.tool for outcome in through})
        listed = sorted(set(names) & _allowed(subject))
        line = f"{{approve: [{', '.join(names)}]}}" + (f", and no more allow for {', '.join(listed)}" if listed else "")
        yield "tools", line, lambda guards: _approving(guards, names)
    for key, value in {
        LINK: (("links", "redact"), ("links", "block")),
        TELL: (("leaks", "block"),),
        AGAIN: (("loops", "block"),),
    }.get(goal, ()):
        if getattr(subject.rules, key) != value:
            yield key, value, _telling(key, value)
    if not subject.rules.strict:
        yield "profile", "strict", _strict


def _allowed(subject: Subject) -> set[str]:
    """Tools that are allowed by their full name: a file may not name them under `approve`, too."""
    rules = subject.rules.tool_rules
    return {rule.tool.text for rule in rules.rules if rule.then == "allow"} if rules is not None else set()


def _telling(key: str, value: str) -> Change:
    def change(guards: GuardSettings) -> GuardSettings:
        return replace(guards, **{key: value})  # type: ignore[arg-type]  # `key` is a mode's, which is a text

    return change


def _approving(guards: GuardSettings, names: Sequence[str]) -> GuardSettings:
    from headgate.settings.guard_model import ToolRuleSettings, ToolSettings

    rules = guards.tool_rules or ToolSettings()
    first = tuple(ToolRuleSettings(name, "approve") for name in names)
    tools = guards.tools if guards.tools not in ("off", "flag") else "on"
    return replace(guards, tools=tools or "on", tool_rules=replace(rules, rules=(*first, *rules.rules)))


def _strict(guards: GuardSettings) -> GuardSettings:
    return all_by(guards, "strict")


def _where(settings: Settings, subject: Subject, key: str) -> str:
    origins = settings.origins
    for path in (f"{subject.path}.{key}", subject.path, "guards"):
        told = origins.get(path, "")
        if told and ":" in told:
            return told
    inside = (told for path, told in origins.items() if path.startswith(f"{subject.path}.") and ":" in told)
    return next(inside, "")
