"""Calls that come again: the same bytes behind the same head as a call that has got a kept answer.

What is worked out on the way to a kept answer (what the body says, who may serve it, under which key it is kept) comes
out the same for the same bytes. So the way in keeps that, and only what may have changed since is looked at: whether
the answer is still kept, the caller's limits, the provider's credential, and incidents. It serves configurations in
which nothing else looks at such a call; in others no call is one of these.
"""

from __future__ import annotations

from headgate.core.cache import Stored
from headgate.core.exchange import Ending, Exchange, Request
from headgate.core.ports import Ports
from headgate.engine.flying import Failed
from headgate.engine.plan import Policies
from headgate.engine.recall_tools import Giving
from headgate.engine.relay import Reply
from headgate.engine.replaying import Given, given


class Repeat:
    """What stays the same of a call, each time that it comes.

    Attributes:
        request: shared by all of its exchanges.
        key: under which its answer is kept.
        model, provider: of the route that comes first.
        shown: what the way in has worked out of its answers; None at first.
    """

    __slots__ = ("key", "model", "provider", "request", "shown")

    def __init__(self, request: Request, key: str, model: str, provider: str) -> None:
        self.request = request
        self.key = key
        self.model = model
        self.provider = provider
        self.shown: object = None


class Again:
    """Shared by all exchanges of an engine.

    Attributes:
        at_once: nobody has to be awaited for an answer: `answer_at_once` gives it.
        ever: there may be such calls, in this configuration.
    """

    __slots__ = ("_failed", "_giving", "_here", "_incidents", "_ports", "_router", "at_once", "ever")

    def __init__(self, ports: Ports, policies: Policies, giving: Giving, failed: Failed) -> None:
        self._failed = failed
        self._ports = ports
        self._giving = giving
        self._incidents = policies.incidents
        self._router = policies.router
        self._here = None if ports.limits is None else ports.limits.at_once
        self.at_once = ports.limits is None or self._here is not None
        nobody_looks = policies.guards is None and ports.checkers is None and not ports.witnesses
        keeps = policies.caching is not None and ports.cache is not None
        self.ever = keeps and nobody_looks and not policies.keep_text

    def of(self, reply: Reply) -> Repeat | None:
        """What to keep of the call that has this reply; None where it was no kept answer, or more has to be looked at
        each time."""
        if not isinstance(reply, Given) or reply.way is None or not self.ever:
            return None
        exchange, (plan, key) = reply.exchange, reply.way
        request, route = exchange.request, plan.routes[0]
        if plan.inspects is not None or plan.checks or request.cache or request.client_retries:
            return None
        if request.approval or request.direct is not None or request.provider or request.facts.state:
            return None
        if request.facts.model in self._router.virtual or exchange.findings:
            return None
        return Repeat(request, key, route.model or request.facts.model, route.provider)

    def kept(self, repeat: Repeat) -> Stored | None:
        """The answer to a call that comes again; None: look at the call as at any other."""
        cache = self._ports.cache
        if cache is None or self._incidents.live is not None or repeat.provider in self._router.unready:
            return None
        return cache.peek(repeat.key)

    async def answer(self, exchange: Exchange, repeat: Repeat, stored: Stored) -> Given | None:
        """What `kept` has found, as this exchange's, settled: of limits it takes a request, and no tokens.

        None where one of its caller's limits has no room for it: nothing is on record then, and what is to be done
        about that is for `Engine.open` to say.
        """
        limits, request = self._ports.limits, repeat.request
        try:
            if limits is not None:
                answer = await limits.ask(
                    request.caller, tokens=0, model=repeat.model, provider=repeat.provider, address=request.address
                )
                if not answer:
                    return None
                exchange.taken, exchange.limit_headers = answer, answer.headers()
            return given(self._giving, exchange, stored)
        except BaseException as error:
            await self._failed(exchange, error)
            raise

    def answer_at_once(self, repeat: Repeat, stored: Stored) -> tuple[Exchange, bytes] | None:
        """As `answer`: the exchange, settled, and the header lines of its caller's limits.

        Nothing is corrected of what its limits have given: they count it as a request without tokens.
        """
        ports, request, limits = self._ports, repeat.request, b""
        now = ports.clock.now()
        if self._here is not None:
            taken = self._here(request.caller, now, 0, repeat.model, repeat.provider, request.address)
            if not taken:
                return None
            limits = taken.lines()
        exchange = Exchange(ports.new_id(now), request, now)
        exchange.cache, exchange.recalled, exchange.status = "hit", stored, stored.status
        self._giving.books.settle(exchange, Ending.COMPLETE)
        return exchange, limits
