"""Time zones by their IANA names. UTC needs no data; the others are the system's, or the `tzdata` package's."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, tzinfo

from headgate.settings.tree import shown

UTC_NAME = "UTC"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
# Names that mean another zone on another machine, or the same ones a second time, beside IANA's.
_NO_NAME = re.compile(r"(?:localtime|posixrules|(?:posix|right)/.*)")


def zone(name: str) -> tzinfo:
    """The zone of a name that `zone_name` has read. Raises ZoneInfoNotFoundError (a KeyError) for others."""
    if name == UTC_NAME:
        return UTC
    # Imported here: it is not needed for UTC, and `import headgate` is to be quick.
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def zone_name(text: str) -> str:
    """A zone's name, checked. Raises ValueError, with the name that may have been meant, or what to install."""
    if _NAME.fullmatch(text) and not _NO_NAME.fullmatch(text):
        try:
            zone(text)
        except (KeyError, ValueError, OSError):  # no such zone, no zone data in its file, a directory
            pass
        else:
            return text
    raise ValueError(_unknown(text))


def _unknown(text: str) -> str:
    from zoneinfo import available_timezones

    known = {name.lower(): name for name in sorted(available_timezones()) if not _NO_NAME.fullmatch(name)}
    if not known:
        return (
            "this system has no time zone data: install the tzdata package (`pip install tzdata`, or your system's), "
            "or use UTC"
        )
    word = text[:64].lower()
    last = {name.rpartition("/")[2]: name for name in known}
    meant = word.replace(" ", "_")
    close = [meant] if meant in known else [last[meant]] if meant in last else []
    close = close or difflib.get_close_matches(meant, known, n=1) or difflib.get_close_matches(meant, last, n=1)
    hint = f"did you mean {known[last.get(close[0], close[0])]!r}?" if close else "like UTC or Europe/Berlin"
    return f"no time zone is named {shown(text)}; {hint}"
