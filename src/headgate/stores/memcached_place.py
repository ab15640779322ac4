"""Memcached: the place that a URL names."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

DEFAULT_PREFIX = "headgate"
DEFAULT_PORT = 11211
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXPECTED = "expected memcached://host:11211, without a user, a password or a path"


class MemcachedPlace(NamedTuple):
    """Where it is; `prefix` begins every key, so that several of ours may share it."""

    host: str
    port: int
    prefix: str

    @property
    def name(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"memcached://{host}:{self.port}"


def memcached_place(url: str) -> MemcachedPlace:
    """The place that ``memcached://host:11211?prefix=headgate`` names.

    Raises:
        ValueError: it is no such URL. Never repeats it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.scheme != "memcached" or not parts.hostname or "@" in parts.netloc or parts.path.strip("/"):
        raise ValueError(_EXPECTED)
    prefix = DEFAULT_PREFIX
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key != "prefix":
            raise ValueError("the only option of its URL is prefix")
        if not _PREFIX.fullmatch(value):
            raise ValueError("prefix has 1 to 64 letters, digits, dots, dashes and underscores")
        prefix = value
    return MemcachedPlace(parts.hostname, port, prefix)
