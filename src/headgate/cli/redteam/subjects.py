"""Whose calls are attacked: everybody's, and those of each task and caller that the configuration treats apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.policy.guards.rules import GuardRules
    from headgate.settings.guard_model import GuardSettings
    from headgate.settings.model import Settings

EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody whose calls are attacked.

    Attributes:
        name: "everybody", "task=summarise", "key=dev".
        path: of the section of the configuration that is the most specific about them.
        rules: what their guards do.
    """

    name: str
    path: str
    caller: Caller
    rules: GuardRules


def subjects(settings: Settings) -> list[Subject]:
    """Everybody, then each task and each entry of `guards.for` that says something of guards."""
    from headgate.settings.guard_model import GuardSettings
    from headgate.settings.guards import guards_of

    of = guards_of(settings)
    nobody = GuardSettings()
    found = [_subject(EVERYBODY, "guards", Caller(), of)]
    for name, task in settings.tasks.items():
        if task.guards != nobody:
            found.append(_subject(f"task={name}", f"tasks.{name}.guards", Caller(task=name), of))
    for number, entry in enumerate(settings.guards.callers):
        caller = Caller(**dict(entry.only))  # type: ignore[arg-type]  # dimensions of GUARDED_BY are texts of Caller
        named = ",".join(f"{dimension}={value}" for dimension, value in entry.only)
        found.append(_subject(named, f"guards.for[{number}]", caller, of))
    return found


def chosen(settings: Settings, name: str | None) -> list[Subject]:
    """All of them, or the one of that name; a task or a key that has no guards of its own may be named, too.

    Raises:
        ConfigError: there is none.
    """
    found = subjects(settings)
    if name is None:
        return found
    known = {subject.name: subject for subject in found}
    if name not in known:
        kind, _, value = name.partition("=")
        if kind == "task" and value in settings.tasks:
            from headgate.settings.guards import guards_of

            return [_subject(name, f"tasks.{value}.guards", Caller(task=value), guards_of(settings))]
        raise ConfigError(f"--as: {name!r} is none of {', '.join(known)}, nor task=NAME of a configured task")
    return [known[name]]


def changed(settings: Settings, subject: Subject, change: Callable[[GuardSettings], GuardSettings]) -> Settings:
    """The configuration with a change in the section that is the most specific about a subject."""
    from headgate.settings.model import frozen

    guards = settings.guards
    if subject.path == "guards":
        return replace(settings, guards=change(guards))
    if subject.path.startswith("tasks."):
        task = settings.tasks[subject.caller.task]
        tasks = {**settings.tasks, task.name: replace(task, guards=change(task.guards))}
        return replace(settings, tasks=frozen(tasks))
    entries = tuple(
        replace(entry, guards=change(entry.guards)) if f"guards.for[{number}]" == subject.path else entry
        for number, entry in enumerate(guards.callers)
    )
    return replace(settings, guards=replace(guards, callers=entries))


def with_profile(settings: Settings, profile: str) -> Settings:
    """Everybody's profile, with every mode as it has it. Tools' rules stay, and so do those of tasks and callers."""
    return replace(settings, guards=all_by(settings.guards, profile))


def all_by(guards: GuardSettings, profile: str) -> GuardSettings:
    """A section where the profile decides on every mode."""
    from headgate.policy.guards.rules import MODES

    modes: dict[str, Any] = dict.fromkeys(MODES, "")
    if guards.tool_rules is not None:
        modes["tools"] = "on"
    return replace(guards, profile=profile, **modes)


def _subject(name: str, path: str, caller: Caller, of: Callable[[Caller], GuardRules]) -> Subject:
    return Subject(name, path, caller, of(caller))
