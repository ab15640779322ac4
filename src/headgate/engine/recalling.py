"""Recall: answers that are kept, and callers that wait for the same one (docs/cache.md).

    look -> there: given again, under today's output guards
         -> not there: the first to ask leads a flight; the others follow it, and get what it gets

A follower whose leader has failed leads in its place, once; after that each goes its own way.
"""

from __future__ import annotations

from headgate.core.cache import Stored
from headgate.core.errors import CacheMiss, UpstreamTimeout
from headgate.core.exchange import Exchange
from headgate.core.ports import Ports
from headgate.engine.aboard import TOO_LATE, Following
from headgate.engine.answer import exchange_headers
from headgate.engine.books import Books
from headgate.engine.checking import Checking
from headgate.engine.flights import Flight, Flights
from headgate.engine.flying import Failed, Proceed, Run, kept_headers
from headgate.engine.plan import Plan, Policies
from headgate.engine.recall_tools import Tools
from headgate.engine.relay import Reply
from headgate.engine.replaying import replayed
from headgate.policy.caching import CacheRules, Wanted

_FLIGHTS = 2  # that one exchange takes part in before it goes its own way
_FOREVER = float("inf")


def recalling_of(
    ports: Ports,
    policies: Policies,
    books: Books,
    checking: Checking,
    proceed: Proceed,
    failed: Failed,
    flights: Flights | None,
) -> Recalling | None:
    """What recalls for an engine; None where nothing is kept."""
    rules, cache, beside = policies.caching, ports.cache, ports.beside
    if rules is None or cache is None or beside is None:
        return None
    tools = Tools(
        ports=ports,
        policies=policies,
        books=books,
        cache=cache,
        beside=beside,
        flights=Flights() if flights is None else flights,
        checking=checking,
    )
    return Recalling(tools, rules, proceed, failed)


def nothing_kept(why: str = "") -> CacheMiss:
    """Only a kept answer was wanted.

    Args:
        why: none is kept, as `policy.caching.Wanted.why` says it; "" = there is none.
    """
    return CacheMiss(
        f"x-headgate-cache: only a kept answer was wanted, and none is kept for this request{why and f' ({why})'}. "
        "Leave the header out to have it answered"
    )


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
            request,
            plan.came.body,
            plan.routes,
            output_cap=plan.output_cap,
            answer=plan.answer,
            shape=plan.shape,
            restarts=restarts,
        )
        if found is not None and not found.why and exchange.findings:
            found = Wanted("", found.seconds, "flagged")
        if found is None or found.why:
            if request.cache == "only":
                raise nothing_kept("" if found is None else found.why)
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
                reply = await replayed(tools, exchange, plan, stored)
                reply.way = plan, key
                return reply
            if asked == "only":
                raise nothing_kept()
            flight, leads = flights.join(key, tools.beside, batch=exchange.request.batch)
            if leads and flights.landed != landed:  # one has landed in between, perhaps this very answer
                stored = await self._looked_again(flight)
                if stored is not None:
                    return await replayed(tools, exchange, plan, stored)
            if leads:
                return await self._lead(flight, exchange, plan, wanted)
            followed = await self._follow(flight, exchange, plan)
            if followed is not None:
                return followed
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
            if flight.dropped and not run.begun:
                exchange.detached = False  # cancelled before it could: nothing runs that would settle it
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
                    raise UpstreamTimeout(TOO_LATE, kind="timeout")
                await flights.news(flight, -1, tools.beside, left)
        except BaseException:
            flights.leave(flight)
            raise
        head, stored = flight.head, flight.stored
        if head is not None and head.shared and not (flight.over and stored is None):
            exchange.cache, exchange.status = "hit", head.status
            headers = kept_headers(head.headers) + exchange_headers(exchange, tools.books.now(), final=False)
            return Following(tools, flight, exchange, plan, head.status, headers, leads=False)
        flights.leave(flight)
        return None if stored is None else await replayed(tools, exchange, plan, stored)
