"""Recall: answers that are kept, and callers that wait for the same one (docs/cache.md).

    look -> there: given again, under today's output guards
         -> not there: the first to ask leads a flight; the others follow it, and get what it gets

A follower whose leader has failed leads in its place, once; after that each goes its own way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headgate.core.cache import Stored, sealed
from headgate.core.errors import CacheMiss, ContentBlocked, Refusal, UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending, Exchange, Headers
from headgate.core.ports import Beside, Cache, Ports
from headgate.engine.answer import ACCOUNTS_LIMITS, SIMULATED, HeaderList, exchange_headers, trailing_comment
from headgate.engine.books import Books
from headgate.engine.coded import legible
from headgate.engine.flights import LARGEST, Flight, Flights, Head
from headgate.engine.inspected import answer_of, blocked, content_blocked, note, watched
from headgate.engine.plan import Plan, Policies
from headgate.engine.relay import Reply
from headgate.policy.caching import CacheRules, Wanted, unfit
from headgate.wire.dialect import Meter
from headgate.wire.refused import is_refusal

_FLIGHTS = 2  # that one exchange takes part in before it goes its own way
_FOREVER = float("inf")

Proceed = Callable[[Exchange, Plan], Awaitable[Reply]]
"""The rest of the procedure: an answer that is a provider's."""
Failed = Callable[[Exchange, BaseException], Awaitable[None]]
"""Closes the books on an exchange that has no answer."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What several parts of a recall need."""

    ports: Ports
    policies: Policies
    books: Books
    cache: Cache
    beside: Beside
    flights: Flights


class Recalling:
    """Shared by all exchanges of an engine.

    Args:
        flights: of both colours' engines together.
    """

    __slots__ = ("_failed", "_proceed", "_rules", "_tools")

    def __init__(self, tools: Tools, rules: CacheRules, proceed: Proceed, failed: Failed) -> None:
        self._tools = tools
        self._rules = rules
        self._proceed = proceed
        self._failed = failed

    def wanted(self, exchange: Exchange, plan: Plan) -> Wanted | None:
        """What the cache is to do about an exchange; None: nothing, and nothing is said of it.

        Raises:
            CacheMiss: only a kept answer was wanted, and none is kept of its kind.
        """
        request = exchange.request
        restarts = plan.on_cut == "restart" and request.facts.stream
        found = self._rules.wanted(
            request, plan.came_as, plan.routes, output_cap=plan.output_cap, answer=plan.answer, restarts=restarts
        )
        if found is not None and not found.why and exchange.findings:
            found = Wanted("", found.seconds, "flagged")
        if found is None or found.why:
            if request.cache == "only":
                raise CacheMiss(_ONLY.format(why=f" ({found.why})" if found is not None else ""))
            if found is not None:
                exchange.cache, exchange.cache_why = "bypass", found.why
            return None
        return found

    async def answer(self, exchange: Exchange, plan: Plan, wanted: Wanted) -> Reply:
        """A kept answer, or a new one, which is kept. Raises as `Engine.open`.

        An exchange that is `detached` afterwards is settled by what runs it, whatever is raised.
        """
        tools, asked = self._tools, exchange.request.cache
        flights, key = tools.flights, wanted.key
        exchange.cache = "miss"
        if asked == "refresh":
            return await self._lead(Flight(key, tools.beside, batch=False), exchange, plan, wanted)
        for _ in range(_FLIGHTS):
            landed = flights.landed
            stored = await tools.cache.get(key)
            if stored is not None:
                return replayed(tools, exchange, plan, stored)
            if asked == "only":
                raise CacheMiss(_ONLY.format(why=""))
            flight, leads = flights.join(key, tools.beside, batch=exchange.request.batch)
            if leads and flights.landed != landed:  # one has landed in between, perhaps this very answer
                stored = await self._looked_again(flight)
                if stored is not None:
                    return replayed(tools, exchange, plan, stored)
            if leads:
                return await self._lead(flight, exchange, plan, wanted)
            reply = await self._follow(flight, exchange, plan)
            if reply is not None:
                return reply
        return await self._lead(Flight(key, tools.beside, batch=False), exchange, plan, wanted)

    async def _looked_again(self, flight: Flight) -> Stored | None:
        try:
            stored = await self._tools.cache.get(flight.key)
        except BaseException as error:
            self._tools.flights.end(flight, error=error)
            raise
        if stored is not None:
            self._tools.flights.end(flight, stored=stored)
        return stored

    async def _lead(self, flight: Flight, exchange: Exchange, plan: Plan, wanted: Wanted) -> Reply:
        tools, flights = self._tools, self._tools.flights
        exchange.detached = True
        run = Run(tools, flight, wanted, self._proceed, self._failed)
        try:
            flights.started(flight, await tools.beside.start(run.fly(exchange, plan)))
            while not flight.over and flight.head is None:
                await flights.news(flight, -1, tools.beside, _FOREVER)
        except BaseException:
            flights.leave(flight)
            raise
        if flight.head is not None:
            return Following(tools, flight, exchange, plan, flight.head.status, list(flight.head.headers), leads=True)
        flights.leave(flight)
        if run.whole is None:
            assert flight.error is not None
            raise flight.error
        return run.whole

    async def _follow(self, flight: Flight, exchange: Exchange, plan: Plan) -> Reply | None:
        """What a flight brings; None where it brings nothing to this exchange.

        Raises:
            UpstreamTimeout: it has brought nothing by the exchange's own deadline.
        """
        tools, flights = self._tools, self._tools.flights
        try:
            while not flight.over and flight.head is None:
                left = plan.first_content_by - tools.books.now()
                if left <= 0:
                    raise UpstreamTimeout(_TOO_LATE, kind="timeout")
                await flights.news(flight, -1, tools.beside, left)
        except BaseException:
            flights.leave(flight)
            raise
        head, stored = flight.head, flight.stored
        if head is not None and not (flight.over and stored is None):
            exchange.cache, exchange.status = "hit", head.status
            headers = _kept_headers(head.headers) + exchange_headers(exchange, tools.books.now(), final=False)
            return Following(tools, flight, exchange, plan, head.status, headers, leads=False)
        flights.leave(flight)
        return None if stored is None else replayed(tools, exchange, plan, stored)


_ONLY = (
    "x-headgate-cache: only a kept answer was wanted, and none is kept for this request{why}. Leave the header out to "
    "have it answered"
)
_TOO_LATE = "the same call of another caller had no answer in time"


class Run:
    """What runs a flight: the leader's exchange, read to its end, whoever is there for it.

    Attributes:
        whole: the answer for the leader, where it is no stream.
    """

    __slots__ = ("_failed", "_flight", "_proceed", "_tools", "_wanted", "whole")

    def __init__(self, tools: Tools, flight: Flight, wanted: Wanted, proceed: Proceed, failed: Failed) -> None:
        self._tools = tools
        self._flight = flight
        self._wanted = wanted
        self._proceed = proceed
        self._failed = failed
        self.whole: Reply | None = None

    async def fly(self, exchange: Exchange, plan: Plan) -> None:
        """From the first attempt to the end of the answer. Raises nothing but what cancels it."""
        flight, flights = self._flight, self._tools.flights
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
        flights.begin(flight, Head(reply.status, reply.headers))
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
            flights.end(flight, error=exchange.error or _cut(), rest=piece)
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
            tuple(_kept_headers(headers)),
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
        if not refused and len(body) <= LARGEST and not unfit(exchange):
            stored = sealed(key, stored)
            self._tools.cache.put(key, stored)
        return stored


def _may_be_shared(exchange: Exchange) -> bool:
    """Those who asked for the same get it: a complete answer of the model that was asked for, whatever it says."""
    complete = exchange.ending is Ending.COMPLETE and exchange.status == 200 and bool(exchange.attempts)
    return complete and not (exchange.stood_in or exchange.degradation or exchange.parked or exchange.kept)


_OF_ONE_CALL = frozenset({b"content-encoding", b"x-request-id", b"request-id", b"set-cookie", b"server-timing"})
_OF_THE_PROVIDER = (b"openai-processing-ms", b"cf-", b"x-envoy-", b"retry-after", b"x-should-retry")


def _kept_headers(headers: Headers) -> HeaderList:
    """Those that say what an answer is, and not how one call for it went."""
    return [
        (name, value)
        for name, value in headers
        if name == SIMULATED
        or not (
            name in _OF_ONE_CALL
            or name.startswith(b"x-headgate-")
            or name.startswith(ACCOUNTS_LIMITS)
            or name.startswith(_OF_THE_PROVIDER)
        )
    ]


def _cut() -> UpstreamBroken:
    return UpstreamBroken("the answer broke off", kind="broken")


def replayed(tools: Tools, exchange: Exchange, plan: Plan, stored: Stored) -> Reply:
    """A kept answer as this exchange's, which is settled by it. It costs nothing.

    Raises:
        ContentBlocked: today's output guards do not let it pass.
    """
    body = stored.body
    exchange.cache, exchange.recalled = "hit", stored
    if plan.inspects is not None or tools.policies.keep_text:
        body = _inspected(tools, exchange, plan, stored)
    exchange.status = stored.status
    if stored.kind == "stream":
        body += trailing_comment(exchange)
    tools.books.settle(exchange, Ending.COMPLETE)
    headers = [*stored.headers, *exchange_headers(exchange, tools.books.now(), final=True)]
    return Given(exchange, stored.status, headers, body)


def _inspected(tools: Tools, exchange: Exchange, plan: Plan, stored: Stored) -> bytes:
    request, keep = exchange.request, tools.policies.keep_text
    if stored.kind == "whole":
        body = stored.body if plan.inspects is None else answer_of(exchange, plan.inspects, stored.body)
        if keep:
            _, exchange.response_text = plan.dialect.read_answer(request.endpoint, body, keep_text=True)
        return body
    meter = plan.dialect.meter(request.endpoint, request.facts, keep_text=keep and plan.inspects is None)
    if plan.inspects is not None:
        meter = watched(exchange, plan.inspects, meter, keep_text=keep)
    body = meter.feed(stored.body) + meter.finish()
    found = note(exchange, meter)
    if found is not None:
        raise content_blocked(found)
    exchange.response_text = meter.text()
    return body


class Given:
    """A `Reply` that is here already, and settled."""

    __slots__ = ("_body", "exchange", "headers", "length", "status")

    def __init__(self, exchange: Exchange, status: int, headers: HeaderList, body: bytes) -> None:
        self._body = body
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.length: int | None = len(body)

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
                    return self._end(UpstreamTimeout(_TOO_LATE, kind="timeout"))
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
            told = _cut()
        self._settle(Ending.REFUSED if isinstance(told, Refusal) else Ending.CUT, told)
        said = told.message if isinstance(told, Refusal) else _BROKE_OFF
        return self._plan.dialect.error_event(told.code, said, self.exchange.id)

    def _settle(self, ending: Ending, error: Refusal | UpstreamBroken | UpstreamTimeout | None) -> None:
        if self._meter is not None:
            note(self.exchange, self._meter)
            self.exchange.response_text = self._meter.text()
        self._tools.books.settle(self.exchange, ending, error)


_BROKE_OFF = "The answer broke off: the AI service failed while it was being written."
