"""A look at the Redis or Valkey that replicas share, for `headgate doctor`: what is there, and whether it will do."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headgate.core.errors import ConfigError
from headgate.stores.redis_place import RedisPlace, reason, redis_place

SECONDS = 5.0
"""For each step: whoever asks the doctor has time."""


class Look(NamedTuple):
    """What was seen.

    Attributes:
        kind: "Redis" or "Valkey".
        version: as it tells it, "7.0.15".
        mode: "standalone", "cluster" or "sentinel".
        writable: it is no read-only replica.
        evicts: it throws keys away when its memory is full.
        encrypted, local: the connection; whether the server is on this machine, as far as can be told.
        replicas: of Headgate that have told lately that they live.
    """

    name: str
    kind: str
    version: str
    mode: str
    writable: bool
    evicts: bool
    encrypted: bool
    local: bool
    replicas: int


def look(url: str) -> Look:
    """Look at what `shared` names, over one connection; nothing is changed.

    Raises:
        ConfigError: it is no such URL, redis-py is not installed, or the server is of no use.
    """
    place = replace(redis_place(url), timeout=SECONDS)
    client = place.client()
    try:
        told: dict[str, Any] = client.info()
        replicas = int(client.zcard(f"{{{place.prefix}}}:replicas")) if told.get("redis_mode") != "sentinel" else 0
    except Exception as error:
        raise ConfigError(f"{place.name} is of no use: {reason(error)}") from None
    finally:
        client.connection_pool.disconnect()
    return _seen(place, told, replicas)


def _seen(place: RedisPlace, told: dict[str, Any], replicas: int) -> Look:
    valkey = told.get("valkey_version")
    return Look(
        name=place.name,
        kind="Valkey" if valkey else "Redis",
        version=str(valkey or told.get("redis_version", "")),
        mode=str(told.get("server_mode") or told.get("redis_mode", "standalone")),
        writable=told.get("role") == "master" or str(told.get("slave_read_only", "0")) == "0",
        evicts=str(told.get("maxmemory_policy", "noeviction")) != "noeviction" and bool(told.get("maxmemory")),
        encrypted=place.name.startswith("rediss://"),
        local=_local(urlsplit(place.url).hostname or ""),
        replicas=replicas,
    )


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
