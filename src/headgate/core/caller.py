"""Who asks, and what for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """The dimensions that money, limits and logs are kept by. "" means not told."""

    key: str = ""  # the virtual key's id or name, never the key itself
    tenant: str = ""
    user: str = ""
    session: str = ""
    task: str = ""
    feature: str = ""
    environment: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: _NO_TAGS)
