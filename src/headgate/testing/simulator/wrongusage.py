"""Usage as a provider must not send it: what a `wrong_usage` fault makes of an answer that is otherwise whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headgate.testing.simulator.asked import Event, Json

STYLES = ("missing", "null", "negative", "absurd", "lower", "string")
"""Left out; null; below zero; 10**15 more; half of what was said before; digits in a string."""

_ABSURD = 10**15


def wrong_body(body: bytes, style: str) -> bytes:
    """A whole answer with its usage gone wrong."""
    told = msgspec.json.decode(body)
    _spoil(told, style)
    return msgspec.json.encode(told)


def wrong_events(events: Iterable[Event], style: str) -> Iterator[Event]:
    """A stream with its usage gone wrong wherever it is told."""
    listed = list(events)
    truth = next((_usage_of(_data(e.frame)) for e in reversed(listed) if e.usage), None)
    first = True
    for event in listed:
        if b'"usage"' not in event.frame:
            yield event
            continue
        told = _data(event.frame)
        if style != "lower" or event.usage:
            _spoil(told, style)
        elif first and truth is not None:
            # What is told first is the whole truth, so that what is told last is less.
            holder = _holder(told)
            holder["usage"] = {**(holder["usage"] or {}), **truth}
        first = False
        yield Event(_framed(event.frame, told), event.tokens, terminal=event.terminal)


def _holder(told: Json) -> Json:
    for name in ("message", "response"):
        inner = told.get(name)
        if isinstance(inner, dict) and "usage" in inner:
            return inner
    return told


def _usage_of(told: Json) -> Json | None:
    found = _holder(told).get("usage")
    return found if isinstance(found, dict) else None


def _spoil(told: Json, style: str) -> None:
    holder = _holder(told)
    usage = holder.get("usage")
    if style == "missing":
        holder.pop("usage", None)
    elif usage is not None:
        holder["usage"] = None if style == "null" else _number(usage, style)


def _number(value: Any, style: str) -> Any:
    if isinstance(value, dict):
        return {name: _number(inner, style) for name, inner in value.items()}
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if style == "negative":
        return -value or -1
    if style == "absurd":
        return value + _ABSURD
    return value // 2 if style == "lower" else str(value)


def _data(frame: bytes) -> Json:
    start = frame.index(b"data: ") + 6
    told = msgspec.json.decode(frame[start:])
    return told if isinstance(told, dict) else {}


def _framed(frame: bytes, told: Json) -> bytes:
    return frame[: frame.index(b"data: ") + 6] + msgspec.json.encode(told) + b"\n\n"
