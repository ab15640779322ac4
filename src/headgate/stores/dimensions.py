"""What usage can be broken down by: columns of the ledger, tags, and time buckets in a named zone.

The only SQL here that differs between databases is in :func:`bucket` and :func:`tag`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from sqlalchemy import JSON, ColumnElement, Integer, case, cast, func, literal

from headgate.core.errors import ConfigError
from headgate.stores.schema import exchanges

FILTERS = ("key", "tenant", "user", "session", "task", "feature", "model", "provider", "ending", "environment")
"""What `usage` and `recent` can be narrowed to, and `tag:<name>`. `model` is the one that served, or was asked if none
did."""
BUCKETS = ("hour", "day", "week", "month")
"""Civil time in the zone asked for. A week is named by its Monday (ISO 8601)."""
DIMENSIONS = (*FILTERS, *BUCKETS)
"""What `usage` can be broken down by, and `tag:<name>`."""

TAG = "tag:"
_TAG_NAME = re.compile(r"[^\x00-\x1f\"\\]{1,64}")  # what a quoted JSON path can hold

Offsets = Sequence[tuple[float, int]]
"""A zone's offsets from UTC: (from this moment on, seconds east), ascending; the first holds from ever on."""

NO_OFFSET: Offsets = ((float("-inf"), 0),)

_DAY = 86_400
_EARLIEST, _LATEST = 0, 32_503_680_000  # 1970 to 3000: what is outside has the offset of its end
_WIDEST = 20_000  # days that are looked at for changes of the clocks


def check(what: str, names: Sequence[str] | Mapping[str, str], allowed: Sequence[str]) -> None:
    """Raises ConfigError naming what is neither allowed nor a tag."""
    unknown = [name for name in names if name not in allowed and not is_tag(name)]
    if unknown:
        listed = ", ".join((*allowed, f"{TAG}<name>"))
        raise ConfigError(f"{what} {', '.join(unknown)}: not a dimension of usage; choose from {listed}")


def is_tag(name: str) -> bool:
    """Whether it is `tag:<name>`, with a name that tags can have here."""
    return name.startswith(TAG) and _TAG_NAME.fullmatch(name, len(TAG)) is not None


_MODEL = case((exchanges.c.model_served != "", exchanges.c.model_served), else_=exchanges.c.model_asked)


def dimension(name: str, dialect: str, offsets: Offsets = NO_OFFSET) -> ColumnElement[str]:
    """The expression over `exchanges` whose values are the dimension's; "" where nothing was told."""
    if name == "model":
        return _MODEL
    if name in BUCKETS:
        return bucket(dialect, name, exchanges.c.started, offsets)
    if name.startswith(TAG):
        return tag(dialect, exchanges.c.tags, name[len(TAG) :])
    return exchanges.c[name]


def tag(dialect: str, tags: ColumnElement[str], name: str) -> ColumnElement[str]:
    """The value of one tag in a column of JSON objects; "" where it is not there."""
    told: ColumnElement[Any] = func.nullif(tags, "")
    if dialect == "postgresql":
        return func.coalesce(func.json_extract_path_text(cast(told, JSON), name), "")
    return func.coalesce(func.json_extract(told, f'$."{name}"'), "")


_SQLITE = {"hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
_POSTGRES = {"hour": 'YYYY-MM-DD"T"HH24:00', "day": "YYYY-MM-DD", "week": "YYYY-MM-DD", "month": "YYYY-MM"}


def bucket(dialect: str, every: str, moment: ColumnElement[float], offsets: Offsets = NO_OFFSET) -> ColumnElement[str]:
    """The bucket that a moment (seconds since the epoch) is in, as text: the same text as :func:`label` makes.

    Args:
        dialect: SQLAlchemy's name of the database: "sqlite" or "postgresql".
        every: one of :data:`BUCKETS`.
        offsets: of the zone, over the time that is asked about.
    """
    east = _by_time(moment, [(since, offset) for since, offset in offsets])
    found: ColumnElement[str]
    if dialect == "postgresql":
        local: ColumnElement[Any] = func.timezone("UTC", func.to_timestamp(func.floor(moment) + east))
        found = func.to_char(func.date_trunc("week", local) if every == "week" else local, _POSTGRES[every])
    else:
        seconds = cast(moment, Integer) + east  # whole, because strftime rounds fractions up
        if every == "week":  # on to Sunday, back to Monday
            found = func.date(seconds, "unixepoch", "weekday 0", "-6 days")
        else:
            found = func.strftime(_SQLITE[every], seconds, "unixepoch")
    if every != "hour":
        return found
    return found.concat(_by_time(moment, [(since, _suffix(offset)) for since, offset in offsets]))


def _by_time(moment: ColumnElement[float], values: Sequence[tuple[float, int | str]]) -> ColumnElement[Any]:
    """The value that holds at a moment: the last one that begins before it."""
    first, *later = values
    if not later:
        return literal(first[1])
    return case(*((moment >= since, value) for since, value in reversed(later)), else_=first[1])


def label(every: str, at: float, zone: tzinfo = UTC) -> str:
    """The bucket that a moment is in: 2026-11-20T08:00Z, 2026-11-20, the Monday's date, 2026-11."""
    local = datetime.fromtimestamp(int(at), zone)
    if every == "week":
        local -= timedelta(days=local.weekday())
    if every == "month":
        return local.strftime("%Y-%m")
    if every != "hour":
        return local.strftime("%Y-%m-%d")
    return local.strftime("%Y-%m-%dT%H:00") + _suffix(_east(local))


def in_order(every: str, text: str) -> float | str:
    """A key that sorts buckets by time. An hour that comes twice is written with its two offsets."""
    try:
        return datetime.fromisoformat(text).timestamp() if every == "hour" else text
    except ValueError:
        return float("-inf")


def _suffix(offset: int) -> str:
    if not offset:
        return "Z"
    sign, (hours, rest) = "-" if offset < 0 else "+", divmod(abs(offset), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{sign}{hours:02d}:{minutes:02d}" + (f":{seconds:02d}" if seconds else "")


def _moved(zone: tzinfo, before: int, second: int) -> bool:
    """Whether the clocks have been changed by then."""
    return _east(datetime.fromtimestamp(second, zone)) != before


def _east(local: datetime) -> int:
    return int((local.utcoffset() or timedelta()).total_seconds())


def offsets_of(zone: tzinfo, since: float, until: float) -> Offsets:
    """The offsets of a zone between two moments, to the second. At most 55 years are looked through."""

    def east(second: int) -> int:
        return _east(datetime.fromtimestamp(second, zone))

    first = int(min(max(since, _EARLIEST), _LATEST))
    last = min(max(until, first), _LATEST, first + _WIDEST * _DAY)
    found: list[tuple[float, int]] = [(float("-inf"), east(first))]
    for day in range(first, int(last) + 1, _DAY):
        before, after = found[-1][1], east(day + _DAY)
        if before != after:  # clocks are changed at most once a day
            seconds = range(day, day + _DAY)
            change = bisect_left(seconds, True, key=partial(_moved, zone, before))
            found.append((float(day + change), after))
    return found
