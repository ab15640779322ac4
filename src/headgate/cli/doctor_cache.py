"""Where answers are kept: whether it can be reached, and how full it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headgate.cli.doctor_report import NOTE, OK, PROBLEM, SKIPPED, WARNING, Finding
from headgate.core.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_FULL = 0.95
_NO_KEY = "0" * 16 + ":doctor"


def check_cache(settings: Settings, env: Mapping[str, str], *, offline: bool) -> Iterator[Finding]:
    """As the running gateway knows it; where none runs, the place itself is asked for an answer that is not there.

    Args:
        env: where `env:` references are read.
    """
    from headgate.cli.cache_door import stats
    from headgate.stores.caching import MEMORY, SQLITE
    from headgate.stores.opening import cache_file

    backend = settings.cache.place.backend
    try:
        found = stats(settings)
    except Unavailable as error:
        yield Finding("cache", WARNING, error.message, "look at the gateway's log")
        return
    if found is None:
        if backend == MEMORY:
            yield Finding(
                "cache", SKIPPED, "not known: it is in a gateway's memory, and no gateway of this ledger runs"
            )
            return
        if backend == SQLITE and not cache_file(settings.storage).exists():
            yield Finding("cache", OK, f"{cache_file(settings.storage)}: nothing was kept yet")
            return
        if offline and backend != SQLITE:
            yield Finding("cache", SKIPPED, "not asked (--offline)")
            return
        try:
            found = _asked(settings, env)
        except (ConfigError, Unavailable) as error:
            yield Finding("cache", PROBLEM, error.message, "calls go on without it; is it up, and is the URL right?")
            return
    yield from _told(found, _most(settings))


def _asked(settings: Settings, env: Mapping[str, str]) -> dict[str, Any]:
    from headgate.build import open_caching
    from headgate.engine.blocking import run_blocking

    caching = open_caching(settings, env=env, now=time.time, tell=lambda *_, **__: None)
    try:
        run_blocking(caching.port(blocking=True).get(_NO_KEY))
        return caching.report()
    finally:
        caching.close()


def _most(settings: Settings) -> int | None:
    """Bytes that it may hold; None where its own server says."""
    from headgate.stores.caching import MEMORY, SQLITE

    place = settings.cache.place
    return {MEMORY: settings.cache.bytes, SQLITE: place.disk_bytes}.get(place.backend)


def _told(found: Mapping[str, Any], most: int | None) -> Iterator[Finding]:
    name = found["cache"]
    if not found["ok"]:
        what = f"{name} is gone: {found['last_error']}"
        yield Finding("cache", PROBLEM, what, "calls go on without it; is it up, and may this machine connect?")
        return
    used, entries = found["bytes"], found["entries"]
    size = "" if used is None else f", {used / 1024**2:,.1f} MiB"
    share = used / most if most and used is not None else None
    size += f" of {most / 1024**2:,.0f} MiB ({share:.0%})" if most and share is not None else ""
    count = "answers" if entries is None else f"{entries:,} answers"
    yield Finding("cache", OK, f"{name}: {count}{size}")
    if share is not None and share >= _FULL:
        what = f"{name} is full: {found['evicted']:,} answers went for room since the gateway began"
        key = "cache.bytes" if name == "memory" else "cache.disk"
        yield Finding("cache", NOTE, what, f"raise {key} if `headgate cache stats` shows few hits")
    if found["corrupt"]:
        what = f"{name}: {found['corrupt']:,} entries were damaged or not ours, and were not given"
        yield Finding("cache", WARNING, what, "see cache_corrupt in the log: who else writes there?")
