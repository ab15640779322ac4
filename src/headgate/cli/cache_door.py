"""Where the cache is asked: in the running gateway, or in the place that is named, where no gateway runs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_NOBODY = "no gateway of this ledger is running, and the cache is in its memory"


def stats(settings: Settings) -> dict[str, Any] | None:
    """`stores.caching.Caching.report` of the gateway that writes this ledger; None where there is none.

    Raises:
        Unavailable: it is there and does not answer.
    """
    return _running(settings, "GET", "/cache")


def forget(settings: Settings, whose: dict[str, str]) -> dict[str, Any]:
    """Forget answers: through the gateway, so that its memory forgets them, too; else in the place itself.

    Args:
        whose: see `cache_report.whose_answers`.

    Raises:
        ConfigError: there is nothing to forget them in.
        Unavailable: it cannot be reached, and may keep them.
    """
    found = _running(settings, "POST", "/cache/forget", dict(whose) or {"everything": True})
    return _own(settings, whose) if found is None else found


def _running(
    settings: Settings, method: str, path: str, fields: dict[str, object] | None = None
) -> dict[str, Any] | None:
    from headgate.cli.control import ask_running
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    return None if file is None else ask_running(file, method, path, fields)


def _own(settings: Settings, whose: dict[str, str]) -> dict[str, Any]:
    from headgate.build import open_caching
    from headgate.cache_report import forgotten
    from headgate.engine.blocking import run_blocking
    from headgate.stores.caching import MEMORY
    from headgate.stores.log import LineLog
    from headgate.stores.opening import log_file, log_key_file

    if settings.cache.place.backend == MEMORY:
        raise ConfigError(f"nothing was forgotten: {_NOBODY}")
    log = LineLog(log_file(settings.storage), key_file=log_key_file(settings.storage))
    caching = open_caching(settings, env=os.environ, now=time.time, tell=lambda *_, **__: None)
    try:
        count = run_blocking(forgotten(caching.port(blocking=True), whose))
        shown = {"forgotten": None if count < 0 else count, "cache": caching.report()["cache"]}
        log.event("cache_forgotten", by="cli", whose=whose or "everything", **shown)
        return shown
    finally:
        caching.close()
        log.close()
