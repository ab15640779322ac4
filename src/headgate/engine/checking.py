"""Guards that ask somebody (`core.ports.Checkers`): on the way in, and about an answer before it goes out.

await checking.admit(exchange, plan)       # raises ContentBlocked; `plan.checks` are those that look at the answer
reply = checking.held(exchange, plan, reply)     # around a stream; whole answers: `answer`
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.checks import Passage, PlainPassage
from headgate.core.exchange import Exchange
from headgate.core.guards import Finding, Verdict
from headgate.core.ports import Ports
from headgate.engine.books import Books
from headgate.engine.choosing import ANSWERS
from headgate.engine.looking import holds_back, invalid
from headgate.engine.mending import PING, pinging
from headgate.engine.plan import Plan, Policies
from headgate.engine.relay import Reply, StreamReply
from headgate.policy.guards.answers import GUARD
from headgate.policy.guards.network import blocked
from headgate.wire.segments import segments

ASKED_ABOUT = ANSWERS | {"embeddings"}
MAX_HELD_BYTES = 16 * 1024 * 1024
"""Of a stream that waits for its guards; a longer one is as one that they could not be asked about."""


class Checking:
    """Asks. Shared by all exchanges of an engine."""

    __slots__ = ("_books", "_policies", "_ports")

    def __init__(self, ports: Ports, policies: Policies, books: Books) -> None:
        self._ports = ports
        self._policies = policies
        self._books = books

    async def admit(self, exchange: Exchange, plan: Plan) -> None:
        """Ask about what goes in, before any money is set aside for it.

        Raises:
            ContentBlocked: a guard says no, or cannot be asked and is to be.
        """
        request, guards = exchange.request, self._policies.guards
        if guards is None or self._ports.checkers is None or request.endpoint not in ASKED_ABOUT:
            return
        checks = guards(request.caller).checks
        if not checks or request.of_guard:
            return
        if request.endpoint in ANSWERS:
            plan.checks = tuple(each for each in checks if each.outputs)
        if any(each.inputs for each in checks):
            texts = segments(request.dialect, request.endpoint, request.body)
            found = await self._ports.checkers.check(exchange, checks, texts)
            _raise_blocked(note(exchange, found))

    async def answer(self, exchange: Exchange, plan: Plan, texts: Sequence[str]) -> None:
        """Ask about a whole answer. It is charged. Raises as `admit`."""
        _raise_blocked(note(exchange, await self.said(exchange, plan, texts)))

    async def said(self, exchange: Exchange, plan: Plan, texts: Sequence[str]) -> tuple[Finding, ...]:
        """What guards say of an answer's texts."""
        if not plan.checks or self._ports.checkers is None:
            return ()
        places: list[Passage] = [PlainPassage("assistant", text, f"choices[{n}]") for n, text in enumerate(texts)]
        return await self._ports.checkers.check(exchange, plan.checks, places, output=True)

    def held(self, exchange: Exchange, plan: Plan, reply: Reply) -> Reply:
        """A stream that is looked at when it has ended, and held back until then where it may be blocked."""
        streams = any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in reply.headers)
        return Held(self, self._books, exchange, plan, reply) if streams else reply

    def tell(self, exchange: Exchange, found: Finding) -> None:
        """A line in the log: the exchange of a stream is settled when its end is known."""
        name = "answer_blocked" if found.verdict is Verdict.BLOCK else "answer_flagged"
        self._ports.log.event(name, exchange=exchange.id, guard=found.guard, reasons=list(found.reasons))


class Held:
    """A `Reply` around a stream."""

    __slots__ = ("_asked", "_books", "_checking", "_every", "_held", "_holds", "_inner", "_meter", "_pinged", "_plan",
                 "_size", "exchange", "headers", "length", "status")  # fmt: skip

    def __init__(self, checking: Checking, books: Books, exchange: Exchange, plan: Plan, inner: Reply) -> None:
        request = exchange.request
        self._checking = checking
        self._books = books
        self._plan = plan
        self._inner = inner
        # What goes out is in the caller's dialect, translated or not: a meter of its own reads it.
        self._meter = plan.dialect.meter(request.endpoint, request.facts, keep_text=True)
        self._holds = holds_back(plan) or any(check.blocks for check in plan.checks)
        self._held: list[bytes] = []
        self._size = 0
        self._asked = False
        self._every, self._pinged = pinging(plan, books.now())
        self.exchange = exchange
        self.status = inner.status
        self.headers = inner.headers
        self.length: int | None = None

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
        inner = self._inner
        while True:
            if (
                self._holds
                and not self._asked
                and isinstance(inner, StreamReply)
                and not await inner.wait(max(0.001, self._left()))
            ):
                return self._ping()
            piece = await inner.read()
            if self._asked:
                if not piece or self._holds is False:
                    return piece
                continue  # blocked: what is left of it goes nowhere
            if piece:
                self._meter.feed(piece)
            over = not piece or self._meter.ended
            if not self._holds:
                if not piece:
                    await self._ask()
                return piece
            self._held.append(piece)
            self._size += len(piece)
            if over or self._size > MAX_HELD_BYTES:
                return await self._released()
            if self._left() <= 0:
                return self._ping()

    def _left(self) -> float:
        return self._every - (self._books.now() - self._pinged)

    def _ping(self) -> bytes:
        self._pinged = self._books.now()
        return PING

    async def _ask(self) -> Finding | None:
        """What blocks it."""
        self._asked = True
        noted = [each for each in self.exchange.findings if each.guard == GUARD and each.verdict is Verdict.BLOCK]
        if noted:
            return noted[-1]
        if self._size > MAX_HELD_BYTES:
            found: tuple[Finding, ...] = (Finding("length", Verdict.BLOCK, ("too_long",), channel="assistant"),)
        else:
            self._meter.finish()
            found = await self._checking.said(self.exchange, self._plan, [self._meter.text()])
        for each in found:
            self._checking.tell(self.exchange, each)
        return next((each for each in found if each.verdict is Verdict.BLOCK), None)

    async def _released(self) -> bytes:
        """All that was held back, or the error that stands in its place."""
        stopped = await self._ask()
        out = b"".join(self._held)
        self._held.clear()
        if stopped is None:
            self._holds = False
            return out
        error = invalid(self.exchange, stopped.reasons) if stopped.guard == GUARD else blocked(stopped)
        return self._plan.dialect.error_event(error.code, error.message, self.exchange.id, behind=self._meter)

    def close(self) -> None:
        """See `Reply.close`."""
        self._inner.close()

    def leave(self) -> None:
        """See `Reply.leave`."""
        self._inner.leave()

    def stop(self) -> None:
        """See `Reply.stop`."""
        self._inner.stop()


def note(exchange: Exchange, found: Sequence[Finding]) -> Finding | None:
    """Note what was found; returns what blocks."""
    if found:
        exchange.findings = (*exchange.findings, *found)
    return next((each for each in found if each.verdict is Verdict.BLOCK), None)


def _raise_blocked(found: Finding | None) -> None:
    if found is not None:
        raise blocked(found)
