"""`--since` and `--until`: how long ago, or a date."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import click

from headgate.cli.text import safe
from headgate.settings.units import Unfit, seconds

TEN_YEARS = 10 * 366 * 86_400.0
_ago = seconds(1.0, TEN_YEARS)

HELP = "How long ago (24h, 7d) or a date (2026-11-20, 2026-11-20T08:00; UTC unless it says otherwise)."


def read_moment(text: str, *, now: float, option: str, zone: tzinfo = UTC) -> float:
    """Seconds since the epoch.

    Args:
        text: ``24h``, ``7d``, or an ISO 8601 date or time.
        now: seconds since the epoch.
        zone: whose date it is without an offset, as the days of `--by day` are.

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        if not text.strip().isdigit():  # a bare number of seconds is more likely a slip than meant
            return now - _ago(text.strip())
    except Unfit:
        pass  # then it is a date, or wrong
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter("expected 24h, 7d, or a date like 2026-11-20", param_hint=option) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).timestamp()


def read_zone(name: str) -> tzinfo:
    """The zone of `--zone`, an IANA name.

    Raises:
        click.BadParameter: there is no such zone.
    """
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
        raise click.BadParameter(
            f"no such time zone: {safe(name)[:80]}; write an IANA name like Europe/Berlin", param_hint="--zone"
        ) from None
