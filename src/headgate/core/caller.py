"""Who asks, and what for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


def _no_tags() -> Mapping[str, str]:
    return _NO_TAGS


@dataclass(slots=True)
class Caller:
    """The dimensions that money, limits and logs are kept by. "" means not told. Immutable by convention."""

    key: str = ""  # the virtual key's id or name, never the key itself
    tenant: str = ""
    user: str = ""
    session: str = ""
    task: str = ""
    feature: str = ""
    environment: str = ""
    tags: Mapping[str, str] = field(default_factory=_no_tags)
