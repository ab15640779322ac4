"""Anthropic's `usage` objects as our `Usage` (wire-formats 1.4 and 1.5)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from headgate.core.usage import Iteration, Usage
from headgate.wire.lenient import MAX_COUNT, count, miscounted, table, text

Fields = dict[str, Any]
PlainCount = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Nothing = Annotated[list[Any], Meta(max_length=0)]

# What `message_delta.usage` may bring up to date. All of it is cumulative: the last value stands.
_COUNTS = frozenset({"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"})
_PLACEHOLDER = 16  # `message_start` says some small number for an output that has not begun
_SPLIT = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_KINDS: dict[str, type] = {
    "output_tokens_details": dict,
    "server_tool_use": dict,
    "cache_creation": dict,
    "iterations": list,
    "service_tier": str,
    "speed": str,
    "inference_geo": str,
}


class Plain(msgspec.Struct):
    """The usage object of an ordinary answer: what most answers have, read in one go.

    Anything out of the ordinary makes the decoder refuse it, and the careful way is taken.
    """

    input_tokens: PlainCount
    output_tokens: PlainCount
    cache_creation_input_tokens: PlainCount | None = None
    cache_read_input_tokens: PlainCount | None = None
    cache_creation: PlainWrites | None = None
    output_tokens_details: PlainThoughts | None = None
    server_tool_use: PlainSearches | None = None
    iterations: Nothing | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class PlainLater(msgspec.Struct):
    """The usage object of an ordinary `message_delta`."""

    output_tokens: PlainCount
    input_tokens: PlainCount | None = None
    cache_creation_input_tokens: PlainCount | None = None
    cache_read_input_tokens: PlainCount | None = None
    cache_creation: None = None
    output_tokens_details: PlainThoughts | None = None
    server_tool_use: PlainSearches | None = None
    iterations: Nothing | None = None
    service_tier: None = None
    speed: None = None
    inference_geo: None = None


class PlainWrites(msgspec.Struct):
    """Cache writes by lifetime."""

    ephemeral_5m_input_tokens: PlainCount = 0
    ephemeral_1h_input_tokens: PlainCount = 0


class PlainThoughts(msgspec.Struct):
    """What the output consists of."""

    thinking_tokens: PlainCount = 0


class PlainSearches(msgspec.Struct):
    """What was run on the provider's side."""

    web_search_requests: PlainCount = 0


def plain(counted: Plain) -> Usage:
    """An ordinary usage object."""
    short, long = counted.cache_creation_input_tokens or 0, 0
    written = counted.cache_creation
    if written is not None:
        long = written.ephemeral_1h_input_tokens
        short -= long
        if short < written.ephemeral_5m_input_tokens:
            short = written.ephemeral_5m_input_tokens
    found = Usage(counted.input_tokens, counted.cache_read_input_tokens or 0, short, long, counted.output_tokens)
    if counted.service_tier:
        found.service_tier = counted.service_tier
    if counted.inference_geo:
        found.inference_geo = counted.inference_geo
    if counted.speed:
        found.speed = counted.speed
    if counted.output_tokens_details is not None:
        found.reasoning_tokens = min(counted.output_tokens_details.thinking_tokens, counted.output_tokens)
    if counted.server_tool_use is not None:
        found.web_searches = counted.server_tool_use.web_search_requests
    return found


def grow(counted: Plain, later: PlainLater) -> bool:
    """Bring `message_start`'s up to date by a `message_delta`'s, as `merge` does; False where a count may have fallen,
    and nothing was done."""
    given, read, written = later.input_tokens, later.cache_read_input_tokens, later.cache_creation_input_tokens
    if (
        later.output_tokens < counted.output_tokens
        or (given is not None and given < counted.input_tokens)
        or (read is not None and read < (counted.cache_read_input_tokens or 0))
        or (written is not None and written < (counted.cache_creation_input_tokens or 0))
    ):
        return False
    counted.output_tokens = later.output_tokens
    if given is not None:
        counted.input_tokens = given
    if read is not None:
        counted.cache_read_input_tokens = read
    if written is not None:
        split = counted.cache_creation
        hour = 0 if split is None else min(split.ephemeral_1h_input_tokens, written)
        counted.cache_creation_input_tokens = written
        counted.cache_creation = PlainWrites(written - hour, hour) if written else None
    if later.output_tokens_details is not None:
        counted.output_tokens_details = later.output_tokens_details
    if later.server_tool_use is not None:
        counted.server_tool_use = later.server_tool_use
    return True


def usage(fields: Fields) -> Usage | None:
    """A complete usage object; None where neither input nor output is told."""
    given, output = count(fields.get("input_tokens")), count(fields.get("output_tokens"))
    bad = malformed(fields)
    if given is None and output is None and not bad:
        return None
    output = output or 0
    short, long = _written(fields)
    iterations = fields.get("iterations")
    return Usage(
        input_tokens=given or 0,
        cache_read_tokens=count(fields.get("cache_read_input_tokens")) or 0,
        cache_write_tokens=short,
        cache_write_long_tokens=long,
        output_tokens=output,
        reasoning_tokens=min(count(table(fields.get("output_tokens_details")).get("thinking_tokens")) or 0, output),
        web_searches=count(table(fields.get("server_tool_use")).get("web_search_requests")) or 0,
        service_tier=text(fields.get("service_tier")),
        speed=text(fields.get("speed")),
        inference_geo=text(fields.get("inference_geo")),
        iterations=tuple(map(_iteration, filter(_is_table, iterations))) if isinstance(iterations, list) else (),
        bad=bad,
    )


def malformed(fields: Fields) -> bool:
    """Whether something other than a count stands where one belongs (`Usage.bad`)."""
    if miscounted(fields, _COUNTS) or miscounted(table(fields.get("cache_creation")), _SPLIT):
        return True
    iterations = fields.get("iterations")
    return isinstance(iterations, list) and any(miscounted(table(entry), _COUNTS) for entry in iterations)


def falls(known: Fields, delta: Fields) -> bool:
    """Whether a later report takes back some of an earlier one: counts are cumulative, so one of the two is wrong."""
    if _rises(known, delta):
        return False
    before, after = usage(known), usage({**known, **{n: v for n, v in delta.items() if n in _COUNTS and v is not None}})
    if before is None or after is None:
        return False
    return after.prompt_tokens < before.prompt_tokens or after.output_tokens < before.output_tokens > _PLACEHOLDER


def _rises(known: Fields, delta: Fields) -> bool:
    """Every count that is told again is at least what it was: as in nearly every stream, and nothing falls then."""
    for name in _COUNTS:
        later = delta.get(name)
        if later is not None:
            earlier = known.get(name, 0)
            if type(later) is not int or type(earlier) is not int or not 0 <= earlier <= later <= MAX_COUNT:
                return False
    return True


def complete(fields: Fields) -> bool:
    """Whether both counts that every bill needs are there."""
    return count(fields.get("input_tokens")) is not None and count(fields.get("output_tokens")) is not None


def merge(start: Fields, delta: Fields) -> Fields:
    """`message_start`'s usage brought up to date by a `message_delta`'s.

    The delta's counts replace, never add. It lacks the split of cache writes by lifetime: where it changes their total,
    the one-hour part stays as it was and the rest is five-minute writes.
    """
    merged = dict(start)
    for name, value in delta.items():
        if name in _COUNTS:
            if count(value) is not None:
                merged[name] = value
        elif name in _KINDS and isinstance(value, _KINDS[name]):
            merged[name] = value
    total = count(delta.get("cache_creation_input_tokens"))
    if total is not None and not isinstance(delta.get("cache_creation"), dict):
        hour = min(count(table(start.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0, total)
        merged["cache_creation"] = {"ephemeral_5m_input_tokens": total - hour, "ephemeral_1h_input_tokens": hour}
    return merged


def _written(fields: Fields) -> tuple[int, int]:
    """(five minutes, one hour). What the split does not cover, or all where it is missing, is five minutes."""
    total = count(fields.get("cache_creation_input_tokens")) or 0
    split = table(fields.get("cache_creation"))
    short = count(split.get("ephemeral_5m_input_tokens")) or 0
    long = count(split.get("ephemeral_1h_input_tokens")) or 0
    return max(short, total - long), long


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _iteration(entry: Fields) -> Iteration:
    short, long = _written(entry)
    return Iteration(
        kind=text(entry.get("type")),
        model=text(entry.get("model")),
        input_tokens=count(entry.get("input_tokens")) or 0,
        cache_read_tokens=count(entry.get("cache_read_input_tokens")) or 0,
        cache_write_tokens=short,
        cache_write_long_tokens=long,
        output_tokens=count(entry.get("output_tokens")) or 0,
    )
