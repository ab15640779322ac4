"""The period that a page is about, out of its address: `?period=7d`, or `?from=2026-11-01&to=2026-11-20`. UTC.

`from` may be `since`, as alerts write it, and `to` `until`; both may be seconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from headgate.stores.logs.rollups import KEEP_DAYS

MINUTE, HOUR, DAY = 60, 3_600, 86_400
MINUTES_KEPT = KEEP_DAYS[MINUTE] * DAY
LONGEST = 400 * DAY
"""Seconds: how long rollups are kept."""

_SECONDS = re.compile(r"[0-9]{9,11}(\.[0-9]{1,6})?")

Step = Literal["minute", "hour", "day"]

NAMES = {
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "month": "This month",
}
SHORT = {
    "1h": "1 h",
    "24h": "24 h",
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "7 d",
    "30d": "30 d",
    "month": "Month",
}


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time and how finely it is drawn.

    Attributes:
        name: one of `NAMES`, or "custom".
        words: for people.
        since, until: seconds since the epoch, [since, until).
        step: of the rollups that are read.
        bucket: seconds that one point of a plot stands for.
    """

    name: str
    words: str
    since: float
    until: float
    step: Step
    bucket: int

    @property
    def length(self) -> float:
        """Seconds."""
        return self.until - self.since

    def before(self) -> Period:
        """The stretch of the same length before it."""
        return Period("custom", "before", self.since - self.length, self.since, self.step, self.bucket)

    def starts(self) -> list[int]:
        """Where each point's stretch begins."""
        first = int(self.since // self.bucket) * self.bucket
        return list(range(first, max(first + 1, int(-(-self.until // 1))), self.bucket))

    def query(self) -> dict[str, str]:
        """What names it in an address."""
        if self.name != "custom":
            return {"period": self.name}
        return {"from": _stamp(self.since), "to": _stamp(self.until)}


def chosen(query: Mapping[str, str], now: float, default: str = "24h") -> Period:
    """The period that an address names; `default` where it names none that can be read."""
    since, until = (
        _moment(query.get("from") or query.get("since", "")),
        _moment(query.get("to") or query.get("until", ""), end=True),
    )
    if since is not None and since < now:
        last = min(until or now, now + DAY)
        if last > since:
            first = max(since, last - LONGEST)
            return _made("custom", f"{_words(first)} to {_words(last)}", first, last, now)
    name = query.get("period", "")
    return named(name if name in NAMES else default, now)


def named(name: str, now: float) -> Period:
    """One of `NAMES`."""
    midnight = now // DAY * DAY
    if name == "today":
        return _made(name, NAMES[name], midnight, now, now)
    if name == "yesterday":
        return _made(name, NAMES[name], midnight - DAY, midnight, now)
    if name == "month":
        today = datetime.fromtimestamp(now, UTC)
        first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
        return _made(name, f"{today:%B %Y}", first, now, now)
    length = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}[name]
    return _made(name, NAMES[name], now - length, now, now)


def _made(name: str, words: str, since: float, until: float, now: float) -> Period:
    """With as many points as a plot can show, and rollups as coarse as they allow, and as are still kept."""
    until = max(until, since + MINUTE)  # a day that begins just now
    length = until - since
    fine = since >= now - MINUTES_KEPT
    for most, step, bucket in (
        (2 * HOUR, "minute", MINUTE),
        (2 * DAY, "minute", 15 * MINUTE),
        (8 * DAY, "hour", HOUR),
        (45 * DAY, "hour", 6 * HOUR),
    ):
        if length <= most and (fine or step != "minute"):
            # From a whole stretch on, so that the first point is not a part of one.
            whole = MINUTE if step == "minute" else HOUR
            return Period(name, words, since // whole * whole, until, step, bucket)  # type: ignore[arg-type]
    return Period(name, words, since // HOUR * HOUR, until, "day", DAY)


def _moment(text: str, *, end: bool = False) -> float | None:
    """A day or a moment of an address; the end of a day where `end`."""
    try:
        if _SECONDS.fullmatch(text.strip()):
            return float(text)
        found = datetime.fromisoformat(text.strip()[:40])
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        if end and len(text.strip()) == 10:
            found += timedelta(days=1)
        return found.timestamp()
    except (ValueError, OverflowError):
        return None


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(moment: float) -> str:
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == 0 else f"{at:%Y-%m-%d %H:%M}"
