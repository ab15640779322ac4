"""What the usage reports of both vendors share: time buckets, pages, grouping."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.testing.simulator.asked import Fail
from headgate.testing.simulator.usage_book import Group, Sum

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86_400, 7, 31)}
"""Seconds, the number of buckets on a page unless told, and the most."""

_REACH = 366 * 86_400
_PAGE = "page_"


@dataclass(frozen=True, slots=True)
class Page:
    """The buckets of one answer: their starts and their width in seconds; `following` is the next page's name."""

    starts: range
    width: int
    following: str | None

    @property
    def until(self) -> int:
        """The end of the last bucket."""
        return self.starts.stop if self.starts else self.starts.start


def wrong(message: str) -> Fail:
    """A parameter that cannot be."""
    return Fail(400, "invalid_request_error", message)


def page_of(call: Call, since: float, until: float, widths: dict[str, tuple[int, int, int]] = WIDTHS) -> Page:
    """The page that a request asks for, of the buckets in [since, until), which are snapped to whole ones.

    Raises:
        Fail: a parameter that cannot be.
    """
    query = call.query
    told = query.get("bucket_width", "1d")
    if told not in widths:
        raise wrong(f"bucket_width: expected one of {', '.join(widths)}")
    width, usual, most = widths[told]
    size = query.get("limit", str(usual))
    if not size.isdecimal() or not 1 <= int(size) <= most:
        raise wrong(f"limit: expected 1 to {most} for a bucket_width of {told}")
    if until <= since or until - since > _REACH:
        raise wrong("the end must lie behind the start, by at most 366 days")
    first = int(since) // width * width
    end = -(-int(until) // width) * width
    if query.get("page"):
        first = _read_page(query["page"], first, end)
    stop = min(end, first + int(size) * width)
    following = _PAGE + urlsafe_b64encode(b"%d" % stop).decode() if stop < end else None
    return Page(range(first, stop, width), width, following)


def _read_page(told: str, first: int, end: int) -> int:
    try:
        start = int(urlsafe_b64decode(told.removeprefix(_PAGE)))
    except ValueError:
        raise wrong("page: not one of ours") from None
    if not first <= start < end:
        raise wrong("page: of another request")
    return start


def buckets(page: Page, rows: Iterable[tuple[Group, Sum]]) -> Iterator[tuple[int, list[tuple[Group, Sum]]]]:
    """Each bucket's start and what is in it, empty ones too."""
    filled: dict[int, list[tuple[Group, Sum]]] = {start: [] for start in page.starts}
    for group, summed in rows:
        filled[group.minute * 60 // page.width * page.width].append((group, summed))
    yield from filled.items()


def groups_of(call: Call, allowed: tuple[str, ...]) -> list[str]:
    """What to group by.

    Raises:
        Fail: something else than the vendor allows.
    """
    told = [name for value in call.queries("group_by") for name in value.split(",")]
    unknown = [name for name in told if name not in allowed]
    if unknown:
        raise wrong(f"group_by: {unknown[0]!r} is none of {', '.join(allowed)}")
    return told


def number(call: Call, name: str) -> float | None:
    """A Unix time.

    Raises:
        Fail: it is none.
    """
    told = call.query.get(name)
    if told is None:
        return None
    if not told.isdecimal() or len(told) > 12:
        raise wrong(f"{name}: expected a Unix time in seconds")
    return float(told)
