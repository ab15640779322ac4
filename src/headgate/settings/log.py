"""`log:`: what is written of an exchange, where it can be searched, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from headgate.settings.fields import Section
from headgate.settings.model import LogSettings, Settings
from headgate.settings.policies import DAY
from headgate.settings.units import one_of, seconds, size, switch
from headgate.stores.logs.place import LogPlace
from headgate.stores.opening import log_file

KEYS = ("bodies", "keep", "store", "keep_size", "spool", "requests", "body_bytes")
_KB, _MB, _TB = 1024, 1024**2, 1024**4


def read_log(root: Section) -> LogSettings:
    """`log:`."""
    section = root.section("log", KEYS)
    default = LogSettings()
    return LogSettings(
        bodies=section.take("bodies", one_of(("off", "redacted", "full")), default.bodies),
        keep_seconds=section.take("keep", seconds(60, 3650 * DAY), default.keep_seconds),
        store=section.take("store", switch, default.store),
        keep_bytes=section.take("keep_size", size(10 * _MB, 1024 * _TB), default.keep_bytes),
        spool_bytes=section.take("spool", size(_MB, _TB), default.spool_bytes),
        requests=section.take("requests", switch, default.requests),
        body_bytes=section.take("body_bytes", size(_KB, 16 * _MB), default.body_bytes),
    )


def log_place_of(settings: Settings, log_to: Path | Literal["stdout"] | None = None) -> LogPlace:
    """Where the log store of a configuration is.

    Args:
        log_to: where the JSON lines go, if the configuration does not say (`headgate serve --log`).
    """
    spool = log_file(settings.storage) if log_to is None else None if log_to == "stdout" else log_to
    told = settings.log
    return LogPlace(settings.storage, spool, told.store, told.keep_seconds, told.keep_bytes, told.spool_bytes)
