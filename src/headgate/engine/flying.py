"""What runs a flight: the leader's exchange, to its end; and what is kept of its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headgate.core.cache import Stored, sealed
from headgate.core.exchange import Ending, Exchange, Headers
from headgate.engine.aboard import broke_off
from headgate.engine.answer import ACCOUNTS_LIMITS, SIMULATED, HeaderList, trailing_comment
from headgate.engine.coded import legible
from headgate.engine.flights import LARGEST, Flight, Head
from headgate.engine.plan import Plan
from headgate.engine.recall_tools import Tools
from headgate.engine.relay import Reply
from headgate.engine.replaying import Given
from headgate.policy.caching import Wanted, unfit
from headgate.wire.refused import is_refusal

Proceed = Callable[[Exchange, Plan], Awaitable[Reply]]
"""The rest of the procedure: an answer that is a provider's."""
Failed = Callable[[Exchange, BaseException], Awaitable[None]]
"""Closes the books on an exchange that has no answer."""


class Run:
    """What runs a flight: the leader's exchange, read to its end, whoever is there for it.

    Attributes:
        begun: its first step was taken.
        whole: the answer for the leader, where it is no stream.
    """

    __slots__ = ("_asked_about", "_failed", "_flight", "_proceed", "_tools", "_wanted", "begun", "whole")

    def __init__(self, tools: Tools, flight: Flight, wanted: Wanted, proceed: Proceed, failed: Failed) -> None:
        self._tools = tools
        self._flight = flight
        self._wanted = wanted
        self._proceed = proceed
        self._failed = failed
        self.whole: Reply | None = None
        self.begun = False
        self._asked_about = False

    async def fly(self, exchange: Exchange, plan: Plan) -> None:
        """From the first attempt to the end of the answer. Raises nothing but what cancels it."""
        flight, flights = self._flight, self._tools.flights
        self.begun, self._asked_about = True, bool(plan.checks)
        try:
            reply = await self._proceed(exchange, plan)
        except BaseException as error:
            await self._failed(exchange, error)
            flights.end(flight, error=error)
            if not isinstance(error, Exception):
                raise
            return
        if reply.length is not None:
            await self._whole(exchange, reply)
            return
        if not flights.answered(flight, reply):  # everybody left at the very moment
            if reply.drains:
                reply.leave()
            else:
                reply.close()
        flights.begin(flight, Head(reply.status, reply.headers, shared=_is_what_was_asked_for(exchange)))
        await self._tools.beside.go_on(self._stream(exchange, reply))

    async def _whole(self, exchange: Exchange, reply: Reply) -> None:
        body = await reply.read()
        self.whole = Given(exchange, reply.status, reply.headers, body)
        stored = None
        if _may_be_shared(exchange):
            coding = next((value for name, value in reply.headers if name == b"content-encoding"), b"").strip().lower()
            plain = legible(body, b"" if coding == b"identity" else coding, LARGEST)
            if plain or not body:
                stored = self._kept(exchange, "whole", reply.status, reply.headers, plain)
        self._tools.flights.end(self._flight, stored=stored)

    async def _stream(self, exchange: Exchange, reply: Reply) -> None:
        """The rest of a stream. Behind its terminal event the body is read on, so that the connection can be used."""
        flight, flights = self._flight, self._tools.flights
        try:
            while piece := await reply.read():
                if exchange.ending is None:
                    flights.add(flight, piece)
                else:
                    self._landed(exchange, reply, piece)
            self._landed(exchange, reply, b"")
        except BaseException as error:
            reply.close()
            flights.end(flight, error=error)
            if not isinstance(error, Exception):
                raise
        finally:
            reply.close()

    def _landed(self, exchange: Exchange, reply: Reply, piece: bytes) -> None:
        """The exchange is settled, and `piece` is the last one."""
        flight, flights = self._flight, self._tools.flights
        if flight.over:
            return
        if exchange.ending is not Ending.COMPLETE:
            flights.end(flight, error=exchange.error or broke_off(), rest=piece)
            return
        comment = trailing_comment(exchange)
        ours = piece.endswith(comment)
        last = piece[: -len(comment)] if ours else piece
        stored = None
        if flight.size + len(last) <= LARGEST and _may_be_shared(exchange):
            body = b"".join((*flight.pieces, last))
            stored = self._kept(exchange, "stream", reply.status, reply.headers, body)
        if last:
            flights.add(flight, last)
        flights.end(flight, stored=stored, rest=comment if ours else b"")

    def _kept(self, exchange: Exchange, kind: str, status: int, headers: Headers, body: bytes) -> Stored:
        """The answer for others; put away, where it is one to be had later, too."""
        now, last = self._tools.books.now(), exchange.attempts[-1]
        key, refused = self._wanted.key, is_refusal(exchange.request.endpoint, last.stop_reason, body)
        stored = Stored(
            "stream" if kind == "stream" else "whole",
            status,
            tuple(kept_headers(headers)),
            body,
            now,
            now + self._wanted.seconds,
            model=last.model_served or last.route.model,
            provider=last.route.provider,
            stop_reason=last.stop_reason,
            usage=last.usage,
            cost_nano=exchange.cost_nano,
            price_version=last.price_version,
            exchange_id=exchange.id,
        )
        if self._may_be_kept(exchange) and not refused and len(body) <= LARGEST:
            stored = sealed(key, stored)
            self._tools.cache.put(key, stored)
        return stored

    def _may_be_kept(self, exchange: Exchange) -> bool:
        # What guards say that are asked about a stream, they say behind its end: too late to know that it may be kept.
        return not (unfit(exchange) or (self._asked_about and exchange.request.facts.stream))


def _may_be_shared(exchange: Exchange) -> bool:
    """Those who asked for the same get it: a complete answer of the model that was asked for, whatever it says."""
    complete = exchange.ending is Ending.COMPLETE and exchange.status == 200 and bool(exchange.attempts)
    return complete and _is_what_was_asked_for(exchange)


def _is_what_was_asked_for(exchange: Exchange) -> bool:
    """Not what its leader alone got in its place: another model's answer, since its own budget was spent, say."""
    return not (exchange.stood_in or exchange.degradation or exchange.parked or exchange.kept)


_OF_ONE_CALL = frozenset({b"content-encoding", b"x-request-id", b"request-id", b"set-cookie", b"server-timing"})
_OF_THAT_CALL = (
    b"x-headgate-",
    *ACCOUNTS_LIMITS,
    b"openai-processing-ms",
    b"cf-",
    b"x-envoy-",
    b"retry-after",
    b"x-should-retry",
)


def kept_headers(headers: Headers) -> HeaderList:
    """The headers that say what an answer is, and not how one call for it went."""
    return [
        (name, value)
        for name, value in headers
        if name == SIMULATED or not (name in _OF_ONE_CALL or name.startswith(_OF_THAT_CALL))
    ]
