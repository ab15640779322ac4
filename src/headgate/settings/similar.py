"""`last_good:`: the last good answer to a request, for when none is to be had (docs/degradation.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.settings.fields import Section
from headgate.settings.units import one_of, seconds, size

if TYPE_CHECKING:
    from headgate.settings.model import DegradeSettings, Settings

DAY = 86_400.0
LAST_GOOD_KEYS = ("keep", "bytes", "per")


@dataclass(frozen=True, slots=True)
class LastGoodSettings:
    """How last good answers are kept: only where a `degrade` comes to them."""

    keep_seconds: float = 7 * DAY  # 1 s..365 days
    bytes: int = 64 * 1024 * 1024  # 1 MiB..1 TiB, in this process's memory
    per_user: bool = False  # each user's answers are only that user's


def read_last_good(root: Section) -> LastGoodSettings:
    """`last_good:`."""
    section = root.section("last_good", LAST_GOOD_KEYS)
    told = LastGoodSettings()
    return LastGoodSettings(
        section.take("keep", seconds(1, 365 * DAY), told.keep_seconds),
        section.take("bytes", size(1024**2, 1024**4), told.bytes),
        section.take("per", one_of(("tenant", "user")), "tenant") == "user",
    )


def uses(settings: Settings, what: str) -> Callable[[str], bool] | None:
    """Whether the ladder of a task comes to `use: <what>`; None where none does."""

    def has(steps: tuple[DegradeSettings, ...]) -> bool:
        return any(step.use == what for step in steps)

    everybody = has(settings.degrade)
    told = {name: has(task.degrade) for name, task in settings.tasks.items() if task.degrade is not None}
    if not (everybody or any(told.values())):
        return None
    return lambda task: told.get(task, everybody)
