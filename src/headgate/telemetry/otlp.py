"""OTLP 1.x in protobuf, written by hand: two dozen fields of a stable format, in a fifth of the time and without the
packages of an SDK in the gateway. The tests read all of it with opentelemetry-proto.

Fields and numbers: https://github.com/open-telemetry/opentelemetry-proto, v1.9.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from headgate.telemetry.families import Family
from headgate.telemetry.names import CORRELATION, EXCHANGE_ID, LATEST, REQUEST_ID, USER

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans."""
ERROR = 2
"""A status."""

_OF_SPAN = 9
_REMOTE_KNOWN, _REMOTE = 0x100, 0x200
_CUMULATIVE = 2
_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack
_fixed32 = struct.Struct("<I").pack


@dataclass(slots=True)
class Event:
    """Something at one moment of a span. `at`: seconds since the epoch."""

    name: str
    at: float
    attributes: Attributes


class Shared:
    """Attributes that many spans have in common: encoded once."""

    __slots__ = ("attributes", "encoded")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.encoded = _attributes(_OF_SPAN, attributes)


@dataclass(slots=True)
class Span:
    """A span. Ids are hex; times are seconds since the epoch. `shared` are attributes beside its own."""

    trace: str
    span: str
    parent: str  # "" = none
    name: str
    kind: int
    start: float
    end: float
    attributes: dict[str, Value]
    events: list[Event] = field(default_factory=list)
    failed: bool = False
    state: str = ""
    remote: bool = False  # the parent is another process's
    shared: Shared | None = None


def traces(spans: Iterable[Span], resource: Attributes, scope: tuple[str, str], schema_url: str = "") -> bytes:
    """An `ExportTraceServiceRequest`.

    Args:
        scope: name and version of what has made them.
    """
    inner = b"".join((_message(1, _scope(scope)), *(_message(2, _span(span)) for span in spans), _text(3, schema_url)))
    return _message(1, _message(1, _attributes(1, resource)) + _message(2, inner))


def metrics(
    families: Iterable[Family], resource: Attributes, scope: tuple[str, str], *, start: float, now: float
) -> bytes:
    """An `ExportMetricsServiceRequest`, cumulative since `start`. Times are seconds since the epoch."""
    span = (_nano(start), _nano(now))
    told = [_message(2, _metric(family, span)) for family in families if family.values or family.distributions]
    return _message(
        1, _message(1, _attributes(1, resource)) + _message(2, b"".join((_message(1, _scope(scope)), *told)))
    )


def _span(span: Span) -> bytes:
    flags = _FLAGS[0 if not span.parent else 2 if span.remote else 1]
    start, events = _nano(span.start), span.events
    end = _nano(span.end)
    return b"".join(
        (
            b"\x0a\x10%b\x12\x08%b" % (_from_hex(span.trace), _from_hex(span.span)),
            _text(3, span.state) if span.state else b"",
            b"\x22\x08" + _from_hex(span.parent) if span.parent else b"",
            _name(5, span.name),
            _head(0x30, span.kind, 0x39, start, 0x41, end if end > start else start),
            span.shared.encoded if span.shared is not None else b"",
            _attributes(_OF_SPAN, span.attributes),
            b"".join(map(_event, events)) if events else b"",
            b"\x7a\x02\x18\x02" if span.failed else b"",
            flags,
        )
    )


_from_hex = bytes.fromhex
_head = struct.Struct("<BBBQBQ").pack
"""A span's kind, start and end with their tags: https://protobuf.dev/programming-guides/encoding."""
_FLAGS = tuple(b"\x85\x01" + _fixed32(flags) for flags in (1, 1 | _REMOTE_KNOWN, 1 | _REMOTE_KNOWN | _REMOTE))


def _event(event: Event) -> bytes:
    """As a span has it."""
    told = _attributes(3, event.attributes) if event.attributes else b""
    return _message(11, b"\x09%b%b%b" % (_fixed64(_nano(event.at)), _name(2, event.name), told))


def _metric(family: Family, times: tuple[int, int]) -> bytes:
    head = _text(1, family.name) + _text(2, family.help) + _text(3, family.unit)
    if family.kind == "histogram":
        points = b"".join(_message(1, _histogram(family, place, times)) for place in family.distributions)
        return head + _message(9, points + b"\x10" + _varint(_CUMULATIVE))
    points = b"".join(_message(1, _point(family, place, value, times)) for place, value in family.values.items())
    if family.kind == "gauge":
        return head + _message(5, points)
    return head + _message(7, points + b"\x10" + _varint(_CUMULATIVE) + b"\x18\x01")


def _point(family: Family, place: tuple[str, ...], value: float, times: tuple[int, int]) -> bytes:
    began, now = times
    labels = dict(zip(family.labels, place, strict=True))
    start = b"" if family.kind == "gauge" else b"\x11" + _fixed64(began)
    return b"".join((start, b"\x19", _fixed64(now), b"\x21", _double(value), _attributes(7, labels)))


def _histogram(family: Family, place: tuple[str, ...], times: tuple[int, int]) -> bytes:
    found = family.distributions[place]
    counts = b"".join(map(_fixed64, found.counts))
    bounds = b"".join(map(_double, found.bounds))
    return b"".join(
        (
            b"\x11" + _fixed64(times[0]),
            b"\x19" + _fixed64(times[1]),
            b"\x21" + _fixed64(sum(found.counts)),
            b"\x29" + _double(found.sum),
            _message(6, counts),
            _message(7, bounds),
            _attributes(9, dict(zip(family.labels, place, strict=True))),
        )
    )


def _scope(scope: tuple[str, str]) -> bytes:
    return _text(1, scope[0]) + _text(2, scope[1])


def _attributes(number: int, attributes: Attributes) -> bytes:
    tag = _tag(number)
    out: list[bytes] = []
    for name, value in attributes.items():
        kind = type(value)
        if kind is float:
            out += (_float_head(number, name), _double(value))
        elif kind is str:
            if name in _UNIQUE or len(value) > _SHORT:  # type: ignore[arg-type]  # it is one
                out.append(_text_attribute(tag, name, value))  # type: ignore[arg-type]
            else:
                out += (tag, _repeated(name, value))
        elif kind is int or kind is bool:
            out += (tag, _repeated(name, value))
        else:
            out += (tag, _pair(name, value))
    return b"".join(out)


@lru_cache(maxsize=512)
def _float_head(number: int, name: str) -> bytes:
    """What is before the eight bytes of a number with a fraction."""
    key = _key(name)
    return _tag(number) + _varint(len(key) + 11) + key + b"\x12\x09\x21"


def _text_attribute(tag: bytes, name: str, value: str) -> bytes:
    data, key = value.encode("utf-8", "replace"), _key(name)
    size = len(data)
    whole = len(key) + size + 4
    if whole > 0x7F:
        return tag + _pair(name, value)
    return b"%b%c%b\x12%c\x0a%c%b" % (tag, whole, key, size + 2, size, data)


def _pair(name: str, value: Value) -> bytes:
    """A KeyValue, its length in front."""
    inner = _value(value)
    pair = _key(name) + b"\x12" + _varint(len(inner)) + inner
    return _varint(len(pair)) + pair


_repeated = lru_cache(maxsize=1024, typed=True)(_pair)  # typed: True is 1 to a cache
_UNIQUE = frozenset({EXCHANGE_ID, REQUEST_ID, CORRELATION, USER, LATEST.conversation})
"""Attributes that hardly ever have the same value twice: nothing is remembered of them."""
_SHORT = 64


@lru_cache(maxsize=512)
def _key(name: str) -> bytes:
    return _text(1, name) or b"\x0a\x00"


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        data = value.encode("utf-8", "replace")
        return b"\x0a" + _varint(len(data)) + data
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    return _message(5, b"".join(_message(1, _value(each)) for each in value))


def _message(number: int, data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return b"%b%c%b" % (_tag(number), size, data)
    return b"%b%b%b" % (_tag(number), _varint(size), data)


def _text(number: int, text: str) -> bytes:
    """A string; nothing where it is empty, as proto3 has it."""
    if not text:
        return b""
    data = text.encode("utf-8", "replace")
    return _tag(number) + _varint(len(data)) + data


_name = lru_cache(maxsize=512)(_text)
"""Names of spans and events are few."""


@lru_cache(maxsize=64)
def _tag(number: int) -> bytes:
    """Of a field whose value has a length."""
    return _varint(number << 3 | 2)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _BYTES[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _nano(seconds: float) -> int:
    return int(seconds * 1e9) if seconds > 0.0 else 0


_BYTES = tuple(bytes((number,)) for number in range(0x80))
