"""Rate-limit headers of both dialects, read leniently: what cannot be believed is missing, field by field.

Anthropic's are `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}` with RFC 3339
resets, OpenAI's `x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens}` with Go's durations
(wire-formats 1.2, 2.3). Compatible providers mix names and forms, so every form is read under every name, and of two
families the dialect's own wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType

from headgate.core.exchange import Headers
from headgate.policy.failures import retry_after_seconds
from headgate.policy.rate_facts import (
    CONTRADICTORY,
    FAR,
    NO_FACTS,
    PAST,
    TWICE,
    UNREADABLE,
    LimitFacts,
    RateFacts,
    Seen,
)

MOST_LIMIT = 10**12
"""Requests or tokens per window above this are no limit."""

MOST_RESET = 2 * 86_400.0
"""Seconds. Windows of a day exist (Groq, OpenAI's lowest tiers); what is further away is nonsense."""

MOST_RETRY_AFTER = 7 * 86_400.0
"""Seconds. A wait told beyond it is nonsense."""

_LONGEST_VALUE = 64  # bytes; no honest value comes near
_LONGEST_COUNT = 20  # digits, before it is looked at as a number
_SAME_CLOCK = 2.0  # seconds: `Date` has whole seconds, and travels
_EPOCH = 1e9  # a plain number above it is a moment, not a wait (31 years)
_EPOCH_MS = 1e12
_ROUNDED = 1000  # Anthropic rounds what is left of tokens to the nearest thousand (wire-formats 1.2)

_ANTHROPIC, _OPENAI, _FAST = 0, 12, 24  # where a family's twelve fields begin
_REQUESTS, _TOKENS, _INPUT, _OUTPUT = 0, 3, 6, 9
_PROJECT = 36
_FIELDS = 39
_DATE = -1
_RETRY = -2
_CLASH = b"\0\0"  # told twice with different values; reads as nothing
_NONE = b"-1"  # as a limit: there is none (wire-formats 3, Azure)

_UNITS = MappingProxyType(
    {b"ns": 1e-9, b"us": 1e-6, b"\xc2\xb5s": 1e-6, b"ms": 1e-3, b"s": 1.0, b"m": 60.0, b"h": 3600.0, b"d": 86_400.0}
)
_PART = rb"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ns|us|\xc2\xb5s|ms|s|m|h|d)"
_PARTS = re.compile(_PART)
_DURATION = re.compile(rb"(?:" + _PART + rb")+")
# Some write thousands separators (wire-formats 2.3).
_INTEGER = re.compile(rb"[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4}")
_PLAIN = re.compile(rb"[0-9]{1,16}(?:\.[0-9]{1,12})?")


def _names() -> dict[bytes, int]:
    named = {b"date": _DATE, b"retry-after": _RETRY, b"retry-after-ms": _RETRY}
    kinds = ((b"requests", _REQUESTS), (b"tokens", _TOKENS), (b"input-tokens", _INPUT), (b"output-tokens", _OUTPUT))
    for place, part in enumerate((b"limit", b"remaining", b"reset")):
        for kind, at in kinds:
            named[b"anthropic-ratelimit-%s-%s" % (kind, part)] = _ANTHROPIC + at + place
            named[b"anthropic-fast-%s-%s" % (kind, part)] = _FAST + at + place
            named[b"x-ratelimit-%s-%s" % (part, kind)] = _OPENAI + at + place
        named[b"x-ratelimit-%s-project-tokens" % part] = _PROJECT + place
    return named


_NAMES: Mapping[bytes, int] = MappingProxyType(_names())


def read_limits(
    dialect: str, headers: Headers, now: float, *, fast: bool = False, seen: Seen | None = None
) -> RateFacts:
    """What an answer's headers tell about rate limits. Never raises.

    A field is dropped where it is no number, negative, beyond `MOST_LIMIT` or `MOST_RESET`, in the past, or told twice
    with different values; a remainder also where it is more than its limit, or where its limit is told and is none (-1
    or 0: wire-formats 3, Azure). A moment is taken by the provider's clock where its `Date` shows that it differs.

    Args:
        dialect: "anthropic" or "openai": whose names win where both came.
        headers: lower-case names, as `core.exchange.Headers` has them.
        now: seconds since the epoch, when the headers arrived.
        fast: the request was in Anthropic's fast mode, which has limits of its own.
        seen: takes what was dropped, and how the provider's clock differs.
    """
    found: list[bytes | None] | None = None
    date = b""
    told = False
    known = _NAMES.get
    for name, value in headers:
        place = known(name)
        if place is None:
            continue
        if place == _DATE:
            date = value
        elif place == _RETRY:
            told = True
        else:
            if found is None:
                found = [None] * _FIELDS
            before = found[place]
            found[place] = value if before is None or before == value else _CLASH
    if seen is not None:
        seen.told = found is not None
        seen.skew = _skew(date, now)
    if found is None and not told:
        return NO_FACTS
    now = _provider_time(date, now)
    after = _retry_after(headers, now) if told else None
    if seen is not None and told and after is None:
        seen.faults.add(UNREADABLE)
    if found is None:
        return RateFacts(retry_after=after)
    first, second = (_OPENAI, _ANTHROPIC) if dialect == "openai" else (_ANTHROPIC, _OPENAI)
    families = (_FAST, first, second) if fast else (first, second)
    return RateFacts(
        _first(found, families, _REQUESTS, now, seen),
        _tighter(_first(found, families, _TOKENS, now, seen), _limit(found, _PROJECT, now, seen, rounded=False)),
        _first(found, families, _INPUT, now, seen),
        _first(found, families, _OUTPUT, now, seen),
        after,
    )


def _first(
    found: list[bytes | None], families: tuple[int, ...], kind: int, now: float, seen: Seen | None
) -> LimitFacts | None:
    for family in families:
        facts = _limit(found, family + kind, now, seen, rounded=family != _OPENAI and kind != _REQUESTS)
        if facts is not None:
            return facts
    return None


def _limit(found: list[bytes | None], at: int, now: float, seen: Seen | None, *, rounded: bool) -> LimitFacts | None:
    told_limit, told_remaining, told_reset = found[at : at + 3]
    if told_limit is None and told_remaining is None and told_reset is None:
        return None
    limit = _integer(told_limit) or None
    remaining = _integer(told_remaining) if told_limit is None or limit is not None else None
    if remaining is not None and limit is not None and remaining > limit:
        near = rounded and remaining % _ROUNDED == 0 and remaining - limit < _ROUNDED
        if seen is not None and not near:
            seen.faults.add(CONTRADICTORY)
        remaining = limit if near else None
    reset = _seconds_until(told_reset, now)
    if seen is not None:
        _note_faults(seen, (told_limit, told_remaining, told_reset), reset, now)
    if limit is None and remaining is None and reset is None:
        return None
    return LimitFacts(limit, remaining, reset)


def _note_faults(
    seen: Seen, told: tuple[bytes | None, bytes | None, bytes | None], reset: float | None, now: float
) -> None:
    """Why each of a limit's fields was dropped. -1 and 0 as a limit mean that there is none, and are no fault."""
    if any(value is _CLASH for value in told):
        seen.faults.add(TWICE)
    limit, remaining, value = (None if each is _CLASH else each for each in told)
    none = limit is not None and (limit.strip() == _NONE or _integer(limit) == 0)
    for count in () if none else (limit, remaining):
        if count is not None and _integer(count) is None:
            seen.faults.add(UNREADABLE)
    if value is not None and reset is None:
        seconds = _reset(value) if len(value) <= _LONGEST_VALUE else None
        if seconds is not None and seconds >= _EPOCH:
            seconds -= now
        seen.faults.add(UNREADABLE if seconds is None else FAR if seconds > 0 else PAST)


def _skew(date: bytes, now: float) -> float | None:
    """How far the provider's clock is ahead of ours, in seconds; 0.0 where its whole seconds explain it."""
    said = _http_date(date) if date and len(date) <= _LONGEST_VALUE else None
    return None if said is None else 0.0 if abs(said - now) <= _SAME_CLOCK else said - now


def _tighter(one: LimitFacts | None, other: LimitFacts | None) -> LimitFacts | None:
    """Of an organisation's limit and its project's, the smaller: the one that is reached first."""
    if one is None or other is None or other.limit is None:
        return other if one is None else one
    return other if one.limit is None or other.limit < one.limit else one


def _integer(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit():
        value = value.strip()
        if len(value) > _LONGEST_VALUE or not _INTEGER.fullmatch(value):
            return None
        value = value.replace(b",", b"")
    number = int(value) if len(value) <= _LONGEST_COUNT else MOST_LIMIT + 1
    return number if number <= MOST_LIMIT else None


def _seconds_until(value: bytes | None, now: float) -> float | None:
    """A reset in any of its forms, as seconds from `now`."""
    if not value or len(value) > _LONGEST_VALUE:
        return None
    seconds = _reset(value)
    if seconds is None:
        return None
    if seconds >= _EPOCH:
        seconds -= now
    if not -_SAME_CLOCK <= seconds <= MOST_RESET:
        return None
    return max(0.0, seconds)


def _retry_after(headers: Headers, now: float) -> float | None:
    short = [field for field in headers if field[0].startswith(b"retry-after") and len(field[1]) <= _LONGEST_VALUE]
    if any(value.lstrip().startswith(b"-") for _, value in short):
        short = [field for field in short if not field[1].lstrip().startswith(b"-")]
    told = retry_after_seconds(short, now)
    return told if told is not None and told <= MOST_RETRY_AFTER else None


def _provider_time(date: bytes, now: float) -> float:
    """Seconds since the epoch by the provider's clock: ours where they agree, which is finer than `Date`."""
    said = _http_date(date) if date and len(date) <= _LONGEST_VALUE else None
    return now if said is None or abs(said - now) <= _SAME_CLOCK else said


# The same second is told by many answers, and by several headers of one.
@lru_cache(maxsize=512)
def _reset(value: bytes) -> float | None:
    """A wait in seconds, or a moment in seconds since the epoch: above `_EPOCH`."""
    value = value.strip()
    if _PLAIN.fullmatch(value):
        seconds = float(value)
        return seconds / 1000 if seconds >= _EPOCH_MS else seconds
    if _DURATION.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(value))
        return seconds if seconds < _EPOCH else None
    moment = _rfc3339(value)
    return moment if moment is not None and moment >= _EPOCH else None


def _rfc3339(value: bytes) -> float | None:
    try:
        moment = datetime.fromisoformat(value.decode("ascii"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):  # of which UnicodeDecodeError is one
        return None


@lru_cache(maxsize=16)
def _http_date(value: bytes) -> float | None:
    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
