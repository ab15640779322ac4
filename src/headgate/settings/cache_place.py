"""Where answers are kept: the keys of `cache:` that say so (docs/cache.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.settings.fields import Section
from headgate.settings.secrets import SecretRef
from headgate.settings.tree import Scalar
from headgate.settings.units import seconds, size
from headgate.stores.caching import DISK_BYTES, MEMORY, SQLITE, check_backend

PLACE_KEYS = ("backend", "memory", "disk", "entry", "secret")
SHARED = "shared"
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class CachePlaceSettings:
    """Where answers are kept."""

    backend: str = field(default=MEMORY, repr=False)  # memory | sqlite | redis:// | rediss:// | memcached://
    memory_seconds: float | None = None  # 0..1 day: how long memory keeps what is elsewhere, too; None = by the backend
    disk_bytes: int = DISK_BYTES  # 1 MiB..1 TiB, of sqlite's file
    entry_bytes: int | None = None  # 1 KiB..64 MiB, of one answer outside of memory; None = by the backend
    secret: SecretRef | None = None  # what marks entries as ours; None = a digest only


def read_place(section: Section, shared: str) -> CachePlaceSettings:
    """The keys of `cache:` that say where.

    Args:
        shared: what `shared:` says.
    """
    backend = _read_backend(section, shared)
    if backend != SQLITE and "disk" in section.table.entries:
        section.wrong("disk", "is of the file, and there is one with backend: sqlite only")
    return CachePlaceSettings(
        backend=backend,
        memory_seconds=section.take("memory", seconds(1, _DAY, zero=True), None),
        disk_bytes=section.take("disk", size(1024**2, 1024**4), DISK_BYTES),
        entry_bytes=section.take("entry", size(1024, 64 * 1024**2), None),
        secret=section.secret("secret"),
    )


def _read_backend(section: Section, shared: str) -> str:
    node = section.table.entries.get("backend")
    in_file = isinstance(node, Scalar) and node.where.line > 0 and not node.text.startswith("env:")

    def read(text: str) -> str:
        if text == SHARED:
            if shared == MEMORY:
                raise ValueError("`shared` is memory: name a Redis there (shared: redis://host:6379/0), or here")
            return shared
        found = check_backend(text)
        if in_file and ":" in found.partition("://")[2].rpartition("@")[0]:
            raise ValueError("a password in the file: put the URL into an environment variable and write env:NAME")
        return found

    return section.take_url("backend", read, MEMORY)
