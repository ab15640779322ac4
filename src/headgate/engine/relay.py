"""Hands an answer on, and finishes its exchange once, whatever the ending."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from headgate.core.errors import HeadgateError, UpstreamBroken, UpstreamError, UpstreamTimeout, without_frames
from headgate.core.exchange import Ending, Exchange
from headgate.core.guards import Finding
from headgate.core.ports import Incoming
from headgate.engine.answer import HeaderList, exchange_headers, passed_on, trailing_comment
from headgate.engine.books import Books
from headgate.engine.inspected import blocked, content_blocked, note, whole_frames
from headgate.engine.looking import note_stream
from headgate.engine.plan import Plan
from headgate.policy.failures import failure_inside
from headgate.wire.dialect import UNREADABLE, Meter


class Reply(Protocol):
    """An answer on its way to the caller.

    Attributes:
        status, headers: of the response; `headers` hold no hop-by-hop fields and no length.
        length: bytes of the body, or None for a stream.
        exchange: its record.
        drains: it is under way, and to be read to its end when its caller leaves.
        drain_seconds: for how long, at most.
    """

    status: int
    headers: HeaderList
    length: int | None
    exchange: Exchange

    @property
    def drains(self) -> bool: ...

    @property
    def drain_seconds(self) -> float: ...

    async def read(self) -> bytes:
        """The next piece for the caller, b"" at the end. Never raises an `UpstreamError`: a cut stream ends in the
        dialect's own error event."""
        ...

    def close(self) -> None:
        """The caller is done, or gone. Before the end it abandons the exchange. Idempotent, never waits."""
        ...

    def leave(self) -> None:
        """The caller has gone, and somebody goes on reading for the bill (`on_disconnect: drain`).

        From here on the answer ends, and is charged as abandoned, where its route's caps on that in seconds or in
        dollars are reached. Idempotent.
        """
        ...

    def stop(self) -> None:
        """End a read that is under way in another thread or task; the reader settles. Idempotent, never waits."""
        ...


class WholeReply:
    """A JSON answer that is here already."""

    __slots__ = ("_body", "_books", "exchange", "headers", "length", "status")

    def __init__(self, books: Books, exchange: Exchange, status: int, headers: HeaderList, body: bytes) -> None:
        self._books = books
        self._body = body
        self.exchange = exchange
        self.status = exchange.status = status
        self.length: int | None = len(body)
        now = books.now()
        last = exchange.attempts[-1]
        if last.ended is None:  # a refusal that is handed on after all has ended before
            last.ended = now
        self.headers = headers + exchange_headers(exchange, now, final=True)
        # Complete here: everything the provider had to say is in our hands, and nothing can change the bill.
        books.settle(exchange, Ending.COMPLETE, None, now)

    async def read(self) -> bytes:
        """The whole body, then b""."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Nothing is left to settle."""

    drains = False
    drain_seconds = 0.0

    def leave(self) -> None:
        """Nothing is left to drain."""

    def stop(self) -> None:
        """Nothing is being read."""


class _Flowing:
    """What streams and raw answers share: reading on, the total deadline, and the one ending."""

    __slots__ = (
        "_asked",
        "_books",
        "_first",
        "_gone",
        "_incoming",
        "_over",
        "_plan",
        "_stopped",
        "exchange",
        "headers",
        "length",
        "status",
    )

    def __init__(self, books: Books, exchange: Exchange, plan: Plan, incoming: Incoming, first: bytes) -> None:
        self._books = books
        self._plan = plan
        self._incoming = incoming
        self._first = first
        self._asked = now = books.now()  # when the last piece was
        self._over = False
        self._gone = False
        self._stopped = False
        self.exchange = exchange
        self.status = incoming.status
        exchange.status = incoming.status
        self.length: int | None = None
        self.headers = passed_on(incoming.headers, exchange) + exchange_headers(exchange, now, final=False)

    @property
    def drains(self) -> bool:
        """See `Reply`."""
        return not (self._over or self._gone) and self.exchange.attempts[-1].route.drain

    @property
    def drain_seconds(self) -> float:
        """See `Reply`."""
        return self.exchange.attempts[-1].route.drain_seconds

    def leave(self) -> None:
        """See `Reply.leave`."""
        self._gone = True

    def stop(self) -> None:
        """See `Reply.stop`."""
        self._stopped = True
        self._incoming.close()

    def _next(self) -> Awaitable[bytes]:
        """The next piece to await. Not a coroutine of its own: it would be made once per event of every stream."""
        self._asked = now = self._books.now()
        if now > self._plan.ends_by:
            raise self._late()
        return self._incoming.read()

    def _late(self) -> UpstreamError:
        provider = self.exchange.attempts[-1].route.provider
        return UpstreamTimeout(f"the answer of {provider} was not finished in time", kind="timeout", maybe_billed=True)

    def _complete(self) -> Ending:
        return Ending.ABANDONED if self._gone else Ending.COMPLETE

    def _end(self, ending: Ending, error: HeadgateError | None) -> None:
        self._over = True
        last = self.exchange.attempts[-1]
        last.ended = self._books.now()
        last.error = error if isinstance(error, UpstreamError) else None
        self._books.settle(self.exchange, ending, error)


class StreamReply(_Flowing):
    """A server-sent event stream of a dialect we meter."""

    __slots__ = ("_meter", "_paid", "_silent", "_until")

    def __init__(
        self, books: Books, exchange: Exchange, plan: Plan, incoming: Incoming, meter: Meter, first: bytes
    ) -> None:
        super().__init__(books, exchange, plan, incoming, first)
        self._meter = meter
        self._until = self._paid = 0.0  # of reading on for nobody: when it ends; nano-dollars when it began
        self._silent = not meter.started  # its life-cycle frames have waited long enough (engine.HOLD_BACK_SECONDS)
        if meter.ended:
            self._first += self._finished()

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`."""
        return bool(self._first) or self._over or await self._incoming.wait(seconds)

    async def read(self) -> bytes:
        """See `Reply.read`."""
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._over:
            # The terminal event has gone out; reading to the body's end lets the connection be used again.
            try:
                while await self._next():
                    pass
            except UpstreamError as error:
                without_frames(error)  # the answer was complete, or cut by this; the connection is of no further use
            self._incoming.close()
            return b""
        meter = self._meter
        while True:
            if self._gone and self._enough():
                self.close()
                return b""
            try:
                self._asked = now = self._books.now()  # as `_next`, without a call per event
                if now > self._plan.ends_by:
                    raise self._late()
                piece = await self._incoming.read()
            except UpstreamError as error:
                self._plan.tell_whose(error, self.exchange.attempts[-1], self._books.now())
                rest = whole_frames(meter, meter.finish())
                return rest + (self._cut(error) if blocked(meter) is None else self._finished())
            if not piece:
                rest = meter.finish()
                if meter.ended:
                    return rest + self._finished()
                return whole_frames(meter, rest) + self._cut(self._truncated())
            out = meter.feed(piece)
            if self._silent and meter.started:
                self._silent = False
                self.exchange.attempts[-1].first_content = self._books.now()
            if meter.ended:
                return out + self._finished()
            if out:
                return out

    def close(self) -> None:
        """See `Reply.close`."""
        if not self._over:
            arrived = self._incoming.arrived()  # it is on the bill, whether or not anybody reads it
            if arrived:
                self._meter.feed(arrived)
            self._meter.finish()
            self._settle(Ending.ABANDONED, None)
        self._incoming.close()

    def leave(self) -> None:
        """See `Reply.leave`."""
        if not self._gone:
            self._gone = True
            self._until = self._books.now() + self.drain_seconds
            self._paid = self._shown_nano()

    def _enough(self) -> bool:
        """A cap on reading on for nobody is reached."""
        most = self.exchange.attempts[-1].route.drain_nano
        return self._books.now() >= self._until or self._shown_nano() - self._paid >= most

    def _shown_nano(self) -> int:
        return self._books.shown_nano(self.exchange.attempts[-1], self._meter, until=self._asked)

    def _finished(self) -> bytes:
        meter = self._meter
        found = blocked(meter)
        if found is not None:
            return self._blocked(found)
        if meter.error is not None:
            # An error event the caller has already been given, and then a terminal event all the same; or one of ours,
            # where what follows can be told to nobody.
            left = self._part()
            self._settle(Ending.CUT, self._inside(), left=left)
            return b""
        if self._plan.answer is not None:
            note_stream(self.exchange, self._plan, meter)
        self._settle(self._complete(), None)
        return trailing_comment(self.exchange)

    def _blocked(self, found: Finding) -> bytes:
        """An inspector has ended the answer, and its caller has got the dialect's ending; the provider writes on."""
        left = self._part()
        self._settle(Ending.ABANDONED if self._gone else Ending.REFUSED, content_blocked(found), left=left)
        return trailing_comment(self.exchange)

    def _cut(self, error: UpstreamError) -> bytes:
        """Content has left, so nothing is retried: a typed error event in the dialect (decisions 13)."""
        self._incoming.close()
        if self._gone:
            self._settle(Ending.ABANDONED, None if self._stopped else error)
            without_frames(error)
            return b""
        inside = self._meter.error
        if inside is not None and inside.type != "malformed_event":  # which no caller can take for an error event
            self._settle(Ending.CUT, self._inside())
            return b""  # the provider's own error event went out as it came
        self._settle(Ending.CUT, error)
        without_frames(error)  # it goes nowhere from here but to its own exchange
        said = "The answer broke off: the AI service failed while it was being written."
        return self._plan.dialect.error_event(error.code, said, self.exchange.id, behind=self._meter)

    def _part(self) -> bool:
        """Leave a stream that cannot be read on. What has arrived is on its bill.

        Returns:
            Whether its provider went on writing: not behind an error event of its own.
        """
        meter = self._meter
        unreadable = meter.error is not None and meter.error.type in UNREADABLE
        if meter.over or not (unreadable or blocked(meter)):
            return False
        arrived = self._incoming.arrived()
        if arrived:
            meter.feed(arrived)
        self._incoming.close()
        return not meter.over

    def _inside(self) -> UpstreamError:
        last = self.exchange.attempts[-1]
        said = self._meter.error
        assert said is not None
        return failure_inside(
            b"",
            (),
            type_=said.type,
            code=said.code,
            message=said.message,
            request_id=last.request_id or said.request_id,
            provider=last.route.provider,
            billed=True,
        )

    def _truncated(self) -> UpstreamError:
        provider = self.exchange.attempts[-1].route.provider
        return UpstreamBroken(
            f"{provider} ended the stream without its terminal event", kind="truncated", maybe_billed=True
        )

    def _settle(self, ending: Ending, error: HeadgateError | None, *, left: bool = False) -> None:
        self.exchange.response_text = self._meter.text()
        self._charge(error, left=left or (ending is Ending.ABANDONED and error is None))
        self._end(ending, error)

    def _charge(self, error: HeadgateError | None, *, left: bool) -> None:
        meter, books, exchange = self._meter, self._books, self.exchange
        last = exchange.attempts[-1]
        note(exchange, meter)
        books.note(last, meter)
        lost = False
        if error is not None:
            left, lost = left or isinstance(error, UpstreamTimeout), isinstance(error, UpstreamBroken)
        shown = books.shown(last, meter, until=self._asked, left=left and not meter.over, lost=lost)
        books.charge(exchange, last, shown, final=meter.usage_final)


class RawReply(_Flowing):
    """An answer that passes unread: files, unknown endpoints."""

    __slots__ = ()

    drains = False  # nothing in it would be counted

    async def read(self) -> bytes:
        """See `Reply.read`. A broken body raises, because there is no format to say it in."""
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._over:
            return b""
        try:
            piece = await self._next()
        except UpstreamError as error:
            self._plan.tell_whose(error, self.exchange.attempts[-1], self._books.now())
            self._settle(Ending.CUT, error)
            self._incoming.close()
            raise
        if not piece:
            self._settle(self._complete(), None)
            self._incoming.close()
        return piece

    def close(self) -> None:
        """See `Reply.close`."""
        if not self._over:
            self._settle(Ending.ABANDONED, None)
        self._incoming.close()

    def _settle(self, ending: Ending, error: UpstreamError | None) -> None:
        self._books.charge(self.exchange, self.exchange.attempts[-1])
        self._end(ending, error)
