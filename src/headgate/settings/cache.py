"""`cache:`, and how long tasks and keys keep answers (docs/cache.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.settings.cache_place import PLACE_KEYS, CachePlaceSettings, read_place
from headgate.settings.fields import Section
from headgate.settings.tree import Scalar
from headgate.settings.units import Unfit, one_of, seconds, size, text_up_to

DAY = 86_400.0
ON_SECONDS = 3600.0
"""What `on` means where `cache.default` is silent; and how long an answer is kept that is cached by default."""
MEMORY_BYTES = 256 * 1024 * 1024

KEYS = ("default", "version", "bytes", "per", *PLACE_KEYS)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Which answers are kept, and where."""

    default_seconds: float | None = None  # 0 = off; None = only what decisions 19 allows by default
    version: str = ""  # part of every key: another one, and nothing that was kept is found
    bytes: int = MEMORY_BYTES  # 1 MiB..1 TiB: what this process keeps in memory
    per_user: bool = False  # each user's answers are only that user's
    place: CachePlaceSettings = field(default_factory=CachePlaceSettings)


def read_seconds(section: Section, key: str, default: float | None, on: float = ON_SECONDS) -> float | None:
    """A duration, `off` (0) or `on` (as long as `on` says)."""

    def read(text: str) -> float:
        try:
            return on if one_of(("on", "off"))(text) == "on" else 0.0
        except ValueError:
            pass
        try:
            return seconds(1, 365 * DAY, zero=True)(text)
        except ValueError as error:
            raise Unfit(f"{error}, or on or off") from None

    return section.take(key, read, default)


def read_cache(root: Section, shared: str) -> CacheSettings:
    """`cache: {default: 1h}`, or `cache: off`, `on` or a duration.

    Args:
        shared: what `shared:` says.
    """
    if isinstance(root.table.entries.get("cache"), Scalar):
        return CacheSettings(read_seconds(root, "cache", None))
    section = root.section("cache", KEYS)
    return CacheSettings(
        read_seconds(section, "default", None),
        version=section.take("version", text_up_to(64), ""),
        bytes=section.take("bytes", size(1024**2, 1024**4), MEMORY_BYTES),
        per_user=section.take("per", one_of(("tenant", "user")), "tenant") == "user",
        place=read_place(section, shared),
    )
