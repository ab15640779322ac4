"""What `guards:` says: everybody's, a task's, and that for some callers."""

from __future__ import annotations

from dataclasses import dataclass

GUARDED_BY = ("key", "tenant", "user", "task", "environment")
"""Dimensions that `guards.for` picks callers by."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Modes of the guards, see `policy.guards.rules.MODES`; "" = not told: the next more general section decides, and
    in the end the profile. `on` is the profile's mode."""

    profile: str = ""  # of `policy.guards.rules.PROFILES`; standard unless told otherwise
    injection: str = ""
    pii: str = ""
    secrets: str = ""
    leaks: str = ""
    links: str = ""
    tools: str = ""
    loops: str = ""
    floods: str = ""
    rules: str = ""  # of the injection guard: "standard" | "classic"
    look_behind: int | None = None  # characters, 16..4,096
    allow_tools: tuple[str, ...] = ()  # names; empty = not told
    approve_tools: tuple[str, ...] = ()  # names that wait for a person's approval
    callers: tuple[CallerGuards, ...] = ()  # `for`: the first that fits a caller decides; only in the global section


@dataclass(frozen=True, slots=True)
class CallerGuards:
    """One entry of `guards.for`.

    Attributes:
        only: (dimension of `GUARDED_BY`, value); all of them have to fit.
    """

    only: tuple[tuple[str, str], ...]
    guards: GuardSettings
