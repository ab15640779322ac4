"""Handing an answer to the client: at its pace, with its fault, billing what was shown.

Billing rules (docs/simulator.md): a stream bills its whole input and the tokens of the events handed to the socket; a
JSON answer bills what had been generated when the client left, else all of it; an error before generation, nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from headgate.testing.simulator.asked import Event
from headgate.testing.simulator.book import Record
from headgate.testing.simulator.dialects import Dialect
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.scenario import Pace
from headgate.testing.simulator.wire import Wire

if TYPE_CHECKING:
    from headgate.core.ports import Clock

_SLOW = 1.0  # seconds, where a slow first token names none
_JSON = (b"content-type", b"application/json")
_SSE = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
Header = tuple[bytes, bytes]
Headers = list[tuple[bytes, bytes]]


class Delivery:
    """One answer on its way. `produced` is told output tokens as they are generated."""

    __slots__ = ("_clock", "_counts", "_fault", "_headers", "_pace", "_produced", "_record", "_wire")

    def __init__(
        self,
        wire: Wire,
        record: Record,
        counts: Counts,
        headers: Headers,
        *,
        fault: Fault | None,
        pace: Pace,
        clock: Clock,
        produced: Callable[[int], None],
    ) -> None:
        self._wire = wire
        self._record = record
        self._counts = counts
        self._headers = headers
        self._fault = fault
        self._pace = pace
        self._clock = clock
        self._produced = produced

    def _is(self, *kinds: str) -> Fault | None:
        fault = self._fault
        return fault if fault is not None and fault.kind in kinds else None

    async def dropped(self, output: int, fault: Fault) -> None:
        """Break the connection before the headers."""
        if fault.generated:
            self._bill(output)
        else:
            self._record.counts = None
        self._record.ending = "dropped"
        await self._wire.break_off(fault.how)

    async def whole(self, body: bytes, output: int) -> None:
        """Deliver a JSON answer that has `output` tokens."""
        if not await self._generate(output):
            self._record.ending = "abandoned"
            return
        self._bill(output)
        self._record.status = 200
        if self._is("malformed_event"):
            body = body[: len(body) // 2] + b"\x00" + body[len(body) // 2 + 1 :]
        headers = [*self._headers, _JSON, (b"content-length", b"%d" % len(body))]
        broken = self._is("truncate", "cut", "no_terminal")
        stall = self._is("stall")
        if broken is not None or stall is not None:
            if not await self._in_halves(headers, body, broken, stall):
                return
        else:
            await self._wire.start(200, headers)
            if not await self._wire.write(body, more=False):
                self._record.ending = "abandoned"
                return
        self._record.reported = not self._is("malformed_event", "wrong_usage")
        self._record.ending = "complete"

    async def _in_halves(self, headers: Headers, body: bytes, broken: Fault | None, stall: Fault | None) -> bool:
        wire = self._wire
        half = int(len(body) * (broken.keep if broken is not None else 0.5))
        await wire.start(200, headers)
        await wire.write(body[:half])
        if broken is not None:
            self._record.ending = "cut"
            await wire.break_off(broken.how if broken.kind == "cut" else "fin")
        elif stall is not None and not await wire.wait(stall.seconds):
            self._record.ending = "abandoned"
            return False
        if not await wire.write(body[half:], more=False):
            self._record.ending = "abandoned"
            return False
        return True

    async def _generate(self, output: int) -> bool:
        """Take the time that `output` tokens take; False, with the part generated billed, if the client leaves."""
        pace = self._pace
        slow = self._is("slow_first_token")
        first = pace.first_token_seconds + (_slowness(slow) if slow is not None else 0.0)
        per_event = max(1, pace.tokens_per_event)
        seconds = first + pace.seconds_per_event * -(-output // per_event)
        if seconds <= 0:
            return not self._wire.gone()
        began = self._clock.now()
        if await self._wire.wait(seconds):
            return True
        elapsed = self._clock.now() - began - first
        if pace.seconds_per_event > 0:
            done = int(max(0.0, elapsed) / pace.seconds_per_event) * per_event
        else:
            done = output if elapsed >= 0 else 0
        self._bill(min(output, done))
        return False

    def _bill(self, output: int) -> None:
        self._counts.output = output
        self._produced(output)

    async def stream(self, events: Iterator[Event], dialect: Dialect, head: Sequence[Header] = _SSE) -> None:
        """Deliver a stream. `head`: its type, and its length where that is promised."""
        wire, record, pace = self._wire, self._record, self._pace
        slow = self._is("slow_first_token")
        first = pace.first_token_seconds + (_slowness(slow) if slow is not None and slow.before == "headers" else 0.0)
        if first > 0 and not await wire.wait(first):
            record.ending = "abandoned"
            return
        await wire.start(200, [*self._headers, *head])
        promised = any(name == b"content-length" for name, _ in head)
        record.status = 200
        strikes = self._is("stall", "cut", "error_event", "malformed_event", "truncate")
        at = strikes.after_events if strikes is not None else -1
        ends_early = self._is("no_terminal")
        for event in events:
            if record.events == at and strikes is not None:
                at = -1
                if promised and strikes.kind == "malformed_event":
                    event = Event(bytes(len(event.frame)), terminal=event.terminal)  # as long as it should be
                elif not await self._strike(strikes, dialect):
                    return
            if ends_early is not None and (event.terminal or (event.usage and not ends_early.keep_usage)):
                record.ending = "cut"
                if promised:  # a server would not let us end a body early
                    await wire.break_off("fin")
                await wire.finish()
                return
            if slow is not None and slow.before == "content" and event.tokens:
                delay, slow = _slowness(slow), None
            else:
                delay = pace.seconds_per_event if event.tokens else 0.0
            if not await wire.wait(delay) or not await wire.write(event.frame):
                record.ending = "abandoned"
                return
            self._shown(event)
        record.ending = "complete"
        await wire.finish()

    def _shown(self, event: Event) -> None:
        self._record.events += 1
        if event.tokens:
            self._counts.output += event.tokens
            self._produced(event.tokens)
        if event.usage:
            self._record.reported = True

    async def _strike(self, fault: Fault, dialect: Dialect) -> bool:
        """Let the fault happen in mid-stream; True where the stream goes on."""
        wire, record = self._wire, self._record
        if fault.kind == "malformed_event":
            goes_on = await wire.write(dialect.malformed)
        elif fault.kind == "stall":
            goes_on = await wire.wait(fault.seconds)
        else:
            await self._end_early(fault, dialect)
            return False
        if not goes_on:
            record.ending = "abandoned"
        return goes_on

    async def _end_early(self, fault: Fault, dialect: Dialect) -> None:
        wire, record = self._wire, self._record
        record.ending = "cut"
        if fault.kind == "error_event":
            kind = fault.type or ("overloaded_error" if dialect.name == "anthropic" else "server_error")
            if record.events == 0:
                record.counts = None  # it failed before anything was generated
            await wire.write(dialect.error_event(kind, fault.message or "Overloaded", record.events))
            await wire.finish()
            return
        await wire.break_off(fault.how if fault.kind == "cut" else "fin")


def _slowness(fault: Fault) -> float:
    return _SLOW if fault.seconds is None else fault.seconds
