"""What replicas share: whether Redis answers and will do; several processes without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, WARNING, Finding
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.redis_look import Look

OLDEST = (7, 0)
"""Of Redis, and of what Valkey is compatible with: older ones are not tested."""

_MEMORY = "memory"


def check_shared(settings: Settings, *, offline: bool) -> Iterator[Finding]:
    """Whether it answers, is new enough and writable, and keeps what it is given."""
    from headgate.stores.opening import is_postgres_url

    if settings.shared == _MEMORY:
        if is_postgres_url(settings.storage) and (settings.limits or any(key.limits for key in settings.keys)):
            what = "callers' limits are each process's own: with several replicas everybody has several times the limit"
            yield Finding("shared", NOTE, what, "for more than one process: shared: redis://host:6379/0")
        return
    if offline:
        yield Finding("shared", SKIPPED, "not asked (--offline)")
        return
    from headgate.stores.redis_look import look

    try:
        seen = look(settings.shared)
    except ConfigError as error:
        what = f"{error.message}: each process goes on with its share of every limit"
        yield Finding("shared", PROBLEM, what, "is it up, is the URL right, may this machine connect?")
        return
    yield from _server(seen)


def _server(seen: Look) -> Iterator[Finding]:
    beating = f"{seen.replicas} {'replica shares' if seen.replicas == 1 else 'replicas share'} it now"
    yield Finding("shared", OK, f"{seen.name} answers: {seen.kind} {seen.version}; {beating}")
    if seen.mode != "standalone":
        what = f"it runs as a {seen.mode}, and Headgate speaks to one server"
        yield Finding("shared", PROBLEM, what, "name the primary, or a proxy or a name that follows it")
    if not seen.writable:
        yield Finding("shared", PROBLEM, "it is a read-only replica", "name the primary")
    if seen.kind == "Redis" and _older(seen.version):
        what = f"Redis {seen.version} is older than {'.'.join(map(str, OLDEST))}: that is not tested"
        yield Finding("shared", WARNING, what, "take Redis 7 or Valkey 8, or newer")
    if seen.evicts:
        what = "it throws keys away when its memory is full: whose limit that hits begins with a full bucket"
        yield Finding("shared", NOTE, what, "give it room: a caller's limit takes some 200 bytes")
    if not (seen.encrypted or seen.local):
        what = "the connection is not encrypted: whoever is in between reads the password"
        yield Finding("shared", WARNING, what, "use rediss://, or a network of your own")


def _older(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isascii() and part.isdigit())
    return numbers < OLDEST
