"""Those who wait in a flight, and how they get its stream."""

from __future__ import annotations

from headgate.core.errors import ContentBlocked, Refusal, UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending, Exchange
from headgate.engine.answer import HeaderList, error_behind, trailing_comment
from headgate.engine.flights import Flight
from headgate.engine.inspected import blocked, content_blocked, note, watched
from headgate.engine.plan import Plan
from headgate.engine.recall_tools import Tools
from headgate.wire.dialect import Meter

_FOREVER = float("inf")
TOO_LATE = "the same call of another caller had no answer in time"
_BROKE_OFF = "The answer broke off: the AI service failed while it was being written."


def broke_off() -> UpstreamBroken:
    """Why a stream has no end."""
    return UpstreamBroken("the answer broke off", kind="broken")


class Following:
    """A `Reply` that is read from a flight: the leader's, whose exchange the flight settles, or a follower's."""

    __slots__ = ("_flight", "_gone", "_leads", "_meter", "_place", "_plan", "_tools", "exchange", "headers", "length",
                 "status")  # fmt: skip

    drains = False  # the flight does
    drain_seconds = 0.0

    def __init__(
        self,
        tools: Tools,
        flight: Flight,
        exchange: Exchange,
        plan: Plan,
        status: int,
        headers: HeaderList,
        *,
        leads: bool,
    ) -> None:
        self._tools = tools
        self._flight = flight
        self._plan = plan
        self._leads = leads
        self._place = 0
        self._gone = False
        self._meter: Meter | None = None
        keep = tools.policies.keep_text
        if not leads and (plan.inspects is not None or keep):
            request = exchange.request
            meter = plan.dialect.meter(request.endpoint, request.facts, keep_text=keep and plan.inspects is None)
            inspects = plan.inspects
            self._meter = meter if inspects is None else watched(exchange, inspects, meter, keep_text=keep)
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.length: int | None = None

    async def read(self) -> bytes:
        """See `Reply.read`."""
        flight, tools = self._flight, self._tools
        while not self._gone:
            if self._place < len(flight.pieces):
                piece = flight.pieces[self._place]
                self._place += 1
                out = piece if self._meter is None else self._through(self._meter, piece)
                if out:
                    return out
            elif flight.over:
                return self._last()
            else:
                left = _FOREVER if self._leads else self._plan.ends_by - tools.books.now()
                if left <= 0:
                    return self._end(UpstreamTimeout(TOO_LATE, kind="timeout"))
                await tools.flights.news(flight, self._place, tools.beside, left)
        return b""

    def close(self) -> None:
        """See `Reply.close`."""
        if not self._gone:
            self._part()
            if not self._leads:
                self._settle(Ending.ABANDONED, None)

    def leave(self) -> None:
        """See `Reply.leave`: nothing of this reply's own is drained."""
        self.close()

    def stop(self) -> None:
        """See `Reply.stop`."""
        self.close()

    def _part(self) -> None:
        self._gone = True
        self._tools.flights.leave(self._flight)

    def _through(self, meter: Meter, piece: bytes) -> bytes:
        out = meter.feed(piece)
        found = blocked(meter)
        if found is None:
            return out
        note(self.exchange, meter)
        self._part()
        self._settle(Ending.REFUSED, content_blocked(found))
        return out + trailing_comment(self.exchange)

    def _last(self) -> bytes:
        flight = self._flight
        if self._leads:
            self._part()
            error = flight.error
            if error is not None and self.exchange.ending is None:
                raise error
            return flight.rest
        if flight.error is not None:
            return self._end(flight.error)
        rest = b"" if self._meter is None else self._meter.finish()
        self._part()
        self.exchange.recalled = flight.stored
        self._settle(Ending.COMPLETE, None)
        return rest + trailing_comment(self.exchange)

    def _end(self, error: BaseException) -> bytes:
        """Content has left, so nothing is tried again: a typed error event in the dialect (decisions 13)."""
        self._part()
        if isinstance(error, ContentBlocked):
            told: Refusal | UpstreamBroken | UpstreamTimeout = ContentBlocked(
                error.message, guard=error.guard, reasons=error.reasons
            )
        elif isinstance(error, UpstreamTimeout):
            told = UpstreamTimeout(error.message, kind="timeout")
        else:
            told = broke_off()
        self._settle(Ending.REFUSED if isinstance(told, Refusal) else Ending.CUT, told)
        said = told.told if isinstance(told, Refusal) else _BROKE_OFF
        piece = self._flight.pieces[self._place - 1] if self._place else b""
        return error_behind(piece, self._plan.dialect, self.exchange, told.code, said)

    def _settle(self, ending: Ending, error: Refusal | UpstreamBroken | UpstreamTimeout | None) -> None:
        if self._meter is not None:
            note(self.exchange, self._meter)
            self.exchange.response_text = self._meter.text()
        self._tools.books.settle(self.exchange, ending, error)
