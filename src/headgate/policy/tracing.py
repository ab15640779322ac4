"""W3C trace context: what of an exchange is traced, and under which ids. Pure.

Spans are made after the fact, but a provider has to be told its attempt's span when the request is sent. So ids follow
from the exchange's id, and the decision from the trace's id: both can be made again at any time, and nothing is kept.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from headgate.core.exchange import Exchange, Headers
from headgate.core.ids import PREFIX

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
_OURS = "6867"
"""How the id of a trace begins that we have begun ("hg"); an exchange's id follows, whose last 16 digits are random, as
samplers expect of a trace's."""
_STEP = 0x9E3779B97F4A7C15  # odd, so that the spans of one exchange differ
_MASK = (1 << 64) - 1
_SAMPLED = 1
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Parent(NamedTuple):
    """The caller's own span, as it has told it. Ids are lower-case hex."""

    trace: str
    span: str
    sampled: bool
    state: str


class Trace(NamedTuple):
    """What an exchange is traced as.

    Attributes:
        trace: 32 digits of lower-case hex.
        span: of the exchange, 16 digits.
        parent: None where the trace begins here.
        sampled: it is told, by the sample alone.
    """

    trace: str
    span: str
    parent: Parent | None
    sampled: bool


class Tracing:
    """Which exchanges are traced."""

    __slots__ = ("_below",)

    def __init__(self, share: int) -> None:
        """
        Args:
            share: basis points, 0 to 10,000, of the exchanges that begin a trace; a caller's own decision stands.
        """
        below = -(-(share << 64) // 10_000)
        # As text, which an exchange's id is: every one is asked about. Above all of them is what no digit is.
        self._below = f"{below:016x}" if below <= _MASK else "g"

    def samples(self, exchange: Exchange) -> bool:
        """Whether it is traced, by the sample or its caller: as OpenTelemetry's TraceIdRatioBased decides, so that
        others come to the same."""
        for name, _ in exchange.request.headers:
            if name == TRACEPARENT:
                return self.trace(exchange).sampled
        return exchange.id[-16:] < self._below

    def trace(self, exchange: Exchange) -> Trace:
        """What it is traced as; the same each time."""
        digits = exchange.id.removeprefix(PREFIX)
        parent = parent_of(exchange.request.headers)
        if parent is not None:
            return Trace(parent.trace, _span(digits, 0), parent, parent.sampled)
        return Trace(_OURS + digits, _span(digits, 0), None, digits[-16:] < self._below)

    def told(self, exchange: Exchange, number: int, headers: Headers) -> Headers:
        """The headers of an attempt, with the context of its own span in place of the caller's.

        What is not sampled goes on as it came: whoever called is then the provider's parent.

        Args:
            number: the attempt's.
            headers: as they would be sent; they are not changed.
        """
        if not self.samples(exchange):
            return headers
        trace = self.trace(exchange)
        dropped = (TRACEPARENT,) if trace.parent is not None else (TRACEPARENT, TRACESTATE)
        kept = [header for header in headers if header[0] not in dropped]
        kept.append((TRACEPARENT, f"00-{trace.trace}-{attempt_span(exchange, number)}-01".encode()))
        return kept


def attempt_span(exchange: Exchange, number: int) -> str:
    """The id of an attempt's span, 16 digits of lower-case hex."""
    return _span(exchange.id.removeprefix(PREFIX), number)


def parent_of(headers: Headers) -> Parent | None:
    """The span that a request names; None where there is none, or nothing that can be one."""
    told, states = None, []
    for name, value in headers:
        if name == TRACEPARENT:
            if told is not None:
                return None  # two of them contradict each other
            told = value
        elif name == TRACESTATE:
            states.append(value)
    if told is None:
        return None
    match = _PARENT.fullmatch(told.strip())
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5]):
        return None
    if match[2] == _NO_TRACE or match[3] == _NO_SPAN:
        return None
    state = b",".join(states).decode("ascii", "replace") if sum(map(len, states)) <= 512 else ""
    return Parent(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED), state)


def _span(digits: str, number: int) -> str:
    return f"{((int(digits[-16:], 16) + number * _STEP) & _MASK) or 1:016x}"
