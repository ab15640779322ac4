"""`last_good:`: how the answers of `use: last_good` are kept (docs/degradation.md)."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.settings.fields import Section
from headgate.settings.units import one_of, seconds, size

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
