"""Streams that are retried when they break off in the middle (`on_cut`, decisions 13).

`buffer`: the caller gets nothing but comments until the answer is whole, so a break is invisible. `restart`: text
flows, and after a break the caller is told to forget it. Every attempt is charged for what it has shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headgate.core.errors import HeadgateError, UpstreamError
from headgate.core.exchange import Attempt, Ending, Exchange, Request
from headgate.core.ports import Incoming
from headgate.engine.books import Books
from headgate.engine.plan import Plan
from headgate.engine.relay import Reply, StreamReply
from headgate.wire.dialect import Meter
from headgate.wire.discarding import discard

PING_SECONDS = 10.0
"""How often a caller that waits for a whole answer is told that it is coming: well below the 60 s of proxies."""
_LEAST_SECONDS = 0.1  # nobody is told more often, whatever patience he claims to have
PING = b": the answer is held back until it is whole\n\n"
MENDED = frozenset({"messages", "chat", "responses"})
_BROKE_OFF = "The answer broke off: the AI service failed while it was being written."


def on_cut(request: Request, configured: str) -> str:
    """What is done about a cut: "error", "buffer" or "restart".

    A restart needs both: the task, whose money it is, allows it, and the caller says that it knows the discard event.
    """
    if request.endpoint not in MENDED or not request.facts.stream or request.facts.background:
        return "error"
    asked = request.on_cut
    if asked == "restart" or not asked:
        return configured if asked or configured != "restart" else "error"
    return asked


def pinging(plan: Plan, now: float) -> tuple[float, float]:
    """How often this very caller is told, well within its patience; and when, as it were, it was last: even its headers
    go out with the first of it."""
    every = min(PING_SECONDS, max(_LEAST_SECONDS, plan.patience / 2))
    return every, min(now, plan.shown_by - every)


class Mendable(StreamReply):
    """A stream whose break ends its attempt, and not its exchange: `read` raises it."""

    __slots__ = ("flows",)

    def __init__(
        self, books: Books, exchange: Exchange, plan: Plan, incoming: Incoming, meter: Meter, first: bytes
    ) -> None:
        self.flows = False  # it is mended no longer: a break is told to the caller
        super().__init__(books, exchange, plan, incoming, meter, first)

    async def read(self) -> bytes:
        """See `Reply.read`.

        Raises:
            UpstreamError: it broke off; the attempt is charged and closed.
        """
        piece = await super().read()
        if self._meter.error is not None and not (self._over or self._gone or self.flows):
            raise self._failed(self._inside())  # and not the provider's own error event
        return piece

    @property
    def over(self) -> bool:
        """Its end has been read, or its break."""
        return self._over

    def event(self, code: str, message: str) -> bytes:
        """Our own error as the stream's next event."""
        return self._plan.dialect.error_event(code, message, self.exchange.id, behind=self._meter)

    def _cut(self, error: UpstreamError) -> bytes:
        if self._gone or self.flows:
            return super()._cut(error)
        raise self._failed(self._inside() if self._meter.error is not None else error)

    def _finished(self) -> bytes:
        if self._meter.error is None or self._gone or self.flows:
            return super()._finished()
        raise self._failed(self._inside())

    def _failed(self, error: UpstreamError) -> UpstreamError:
        left = self._part()
        self._incoming.close()
        self._over = True
        exchange = self.exchange
        last = exchange.attempts[-1]
        text = self._meter.text()
        if text:
            exchange.discarded_texts += (text,)
        last.error = error
        self._charge(error, left=left)
        if error.kind == "truncated":
            error.retryable = True  # nobody has seen its end, so it may be asked for again
        self._books.fail(exchange, last, error)
        return error


class Mending:
    """A `Reply` whose answer begins anew when its stream breaks off."""

    __slots__ = ("_again", "_books", "_every", "_heard", "_held", "_holds", "_inner", "_most", "_plan", "_shown",
                 "_size", "exchange", "headers", "length", "status")  # fmt: skip

    def __init__(
        self,
        books: Books,
        plan: Plan,
        inner: Mendable,
        again: Callable[[Exchange, Plan, Attempt], Awaitable[Reply]],
        most: int,
    ) -> None:
        """
        Args:
            inner: the first attempt's.
            again: another reply, unwrapped, where that attempt's stream has broken off; raises where there is none.
            most: bytes that are held back; a longer answer flows from there on.
        """
        self._books = books
        self._plan = plan
        self._inner: Reply = inner
        self._again = again
        self._most = most
        self._holds = plan.on_cut == "buffer"
        self._held: list[bytes] = []
        self._size = 0
        self._shown = False  # content has left for the caller
        self._every, self._heard = pinging(plan, books.now())  # … when something has last left, be it a ping
        self.exchange = inner.exchange
        self.status = inner.status
        self.length: int | None = None
        self.headers = inner.headers

    @property
    def drains(self) -> bool:
        """See `Reply`."""
        return self._inner.drains

    @property
    def drain_seconds(self) -> float:
        """See `Reply`."""
        return self._inner.drain_seconds

    async def read(self) -> bytes:
        """See `Reply.read`."""
        while True:
            inner = self._inner
            try:
                if self._holds and isinstance(inner, Mendable) and not await inner.wait(max(0.001, self._left())):
                    return self._ping()
                piece = await inner.read()
            except UpstreamError as error:
                said = await self._begin_again(error)
                if said:
                    return said
                continue
            if not self._holds:
                self._shown, self._heard = self._shown or bool(piece), self._books.now()
                return piece
            out = self._hold(piece)
            if out or not piece:
                return out

    def _hold(self, piece: bytes) -> bytes:
        """What goes out now: nothing, a sign of life, or all that was held back."""
        inner = self._inner
        self._held.append(piece)
        self._size += len(piece)
        if not isinstance(inner, Mendable) or inner.over or not piece:
            return self._all()
        if self._size > self._most:
            inner.flows = True
            return self._all()
        return self._ping() if self._left() <= 0 else b""

    def _all(self) -> bytes:
        out = b"".join(self._held)
        self._held.clear()
        self._holds = False
        self._shown = bool(out)
        return out

    def _left(self) -> float:
        return self._every - (self._books.now() - self._heard)

    def _ping(self) -> bytes:
        self._heard = self._books.now()
        return PING

    async def _begin_again(self, error: UpstreamError) -> bytes:
        """What the caller gets in between: nothing, the discard event, or the error that ends it."""
        self._held.clear()
        self._size = 0
        exchange, broken = self.exchange, self.exchange.attempts[-1]
        self._plan.heard(self._heard)
        try:
            reply = await self._again(exchange, self._plan, broken)
        except HeadgateError as failed:
            return self._give_up(failed)
        if not any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in reply.headers):
            reply.close()
            return self._give_up(error)  # a JSON answer to what is a stream by now
        self._inner = reply
        if not self._shown:
            return b""
        request = exchange.request
        return discard(
            request.endpoint,
            request.facts.model,
            exchange_id=exchange.id,
            attempt=broken.number,
            code=error.code,
        )

    def _give_up(self, error: HeadgateError) -> bytes:
        self._holds = False
        self._books.settle(self.exchange, Ending.CUT if self._shown else Ending.FAILED, error)
        inner = self._inner
        said = _BROKE_OFF if isinstance(error, UpstreamError) else error.told
        return inner.event(error.code, said) if isinstance(inner, Mendable) else b""

    def close(self) -> None:
        """See `Reply.close`."""
        self._inner.close()
        self._books.settle(self.exchange, Ending.ABANDONED)  # between two attempts; else it is settled already

    def leave(self) -> None:
        """See `Reply.leave`."""
        self._inner.leave()

    def stop(self) -> None:
        """See `Reply.stop`."""
        self._inner.stop()
